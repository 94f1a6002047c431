"""Reports on sweeps: what is read, what is computed from it, figures, tables and a page."""
