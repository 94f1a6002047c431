"""Experiments: configurations, and the programs that run them."""
