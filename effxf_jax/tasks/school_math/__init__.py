"""What the task of files in GSM8K's format is made of: its tokens, its files, and grading."""
