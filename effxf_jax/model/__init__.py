"""The decoder-only Transformer, the same for every attention mechanism."""

from effxf_jax.model.config import ModelConfig
from effxf_jax.model.transformer import Transformer, decayed

__all__ = ['ModelConfig', 'Transformer', 'decayed']
