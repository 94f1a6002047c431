"""Examples by index, where they come from, and the pipeline that feeds them."""
