"""Examples by index, their sources, and the input pipeline."""
