"""The decoder-only Transformer, the same for every attention mechanism."""

from effxf_jax.model.config import ModelConfig
from effxf_jax.model.roles import Role, roles
from effxf_jax.model.transformer import Transformer

__all__ = ['ModelConfig', 'Role', 'Transformer', 'roles']
