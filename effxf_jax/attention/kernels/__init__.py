"""Array operations that several mechanisms share."""
