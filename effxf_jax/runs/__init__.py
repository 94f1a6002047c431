"""A run: its definition, its directory, its training, and how it stops and resumes."""
