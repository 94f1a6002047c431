"""Sweeps: what cells they are made of, and running them on Ray."""
