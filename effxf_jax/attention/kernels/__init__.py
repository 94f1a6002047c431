"""What mechanisms are computed with."""
