"""Weights written by hand: programs over named registers, compiled into parameters of the Transformer."""
