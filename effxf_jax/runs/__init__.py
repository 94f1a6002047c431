"""A run: what it is to do, its directory, and what lets it be killed."""
