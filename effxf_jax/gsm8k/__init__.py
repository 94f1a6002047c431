"""Word problems in the format of GSM8K: questions, and solutions with calculator annotations."""
