"""How wide must a Transformer with a given attention mechanism be to reason, and what does that cost?"""

__version__ = '0.1.0'
