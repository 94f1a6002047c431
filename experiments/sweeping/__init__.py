"""Sweeps: their cells, and how Ray runs them."""
