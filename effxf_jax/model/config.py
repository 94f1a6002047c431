"""The configuration of a Transformer."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from effxf_jax import attention, registry
from effxf_jax.attention import Mechanism

DTYPES = ('float32', 'bfloat16')
POSITIONS = ('sinusoidal', 'learned')
MAX_LAYERS = 1024  # each is traced and compiled by itself


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The configuration of a Transformer.

    Attributes:
        vocab_size: tokens in the vocabulary.
        max_length: the length of the longest sequence, in tokens.
        dim: width D of the residual stream; even, and divisible by num_heads.
        num_heads: attention heads per layer.
        num_layers: Transformer blocks, at most MAX_LAYERS.
        mechanism: the layers' attention: a name of `attention.MECHANISMS`, or a mixture of several joined by
            `+`, through which the layers cycle: `'linear+linear+standard'`.
        dropout: dropout rate on embeddings and on residual branches in training.
        dtype: dtype of activations, one of DTYPES; parameters, softmax and sums are float32.
        positions: what is added to token embeddings: 'sinusoidal', fixed sines and cosines, or 'learned', a
            table of parameters with a row for each of max_length positions.
        conv_size: how many of the last queries, keys and values a causal convolution sums before any
            mechanism; 0 for none. See `attention.convolved`.
        options: values of the options that the mechanisms declare, by name; given as a mapping, kept as
            sorted pairs without those equal to the default.

    Raises:
        ValueError: naming every value that is out of range and every option that the mechanisms lack.
    """

    vocab_size: int
    max_length: int
    dim: int = 64
    num_heads: int = 4
    num_layers: int = 3
    mechanism: str = 'standard'
    dropout: float = 0.1
    dtype: str = 'float32'
    positions: str = 'sinusoidal'
    conv_size: int = 0
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        registry.cast_fields(self)
        problems = [
            f'{name} must be at least 1; got {getattr(self, name)}'
            for name in ('vocab_size', 'max_length', 'dim', 'num_heads', 'num_layers')
            if getattr(self, name) < 1
        ]
        if self.num_layers > MAX_LAYERS:
            problems.append(f'num_layers must be at most {MAX_LAYERS:,}; got {self.num_layers}')
        if self.num_heads >= 1 and self.dim % self.num_heads:
            problems.append(
                f'dim must be divisible by num_heads; got dim {self.dim}, num_heads {self.num_heads}'
            )
        if self.dim % 2:
            problems.append(f'dim must be even, for positions as sines and cosines; got {self.dim}')
        if not 0 <= self.dropout < 1:
            problems.append(f'dropout must be in [0, 1); got {self.dropout}')
        if self.dtype not in DTYPES:
            problems.append(f'dtype must be one of {", ".join(DTYPES)}; got {self.dtype!r}')
        if self.positions not in POSITIONS:
            problems.append(f'positions must be one of {", ".join(POSITIONS)}; got {self.positions!r}')
        if self.conv_size < 0:
            problems.append(f'conv_size must be at least 0; got {self.conv_size}')
        parts = self.mechanism.count('+') + 1
        if parts > self.num_layers >= 1:
            mixture = f'the mixture {self.mechanism!r}'
            problems.append(f'num_layers must be at least {parts} for {mixture}; got {self.num_layers}')
        try:
            values = self.option_values()
            object.__setattr__(self, 'options', registry.changed_options(self.factories(), values))
            if self.max_length >= 1 and 1 <= self.num_layers <= MAX_LAYERS:
                self.mechanisms()
        except ValueError as error:
            problems += str(error).splitlines()
        if problems:
            raise ValueError('\n'.join(problems))

    @property
    def head_dim(self) -> int:
        """Features of a query, a key or a value."""
        return self.dim // self.num_heads

    def factories(self) -> dict[str, Callable[..., Mechanism]]:
        """The factories of the mechanisms by name: the table that their options come from."""
        return attention.factories(self.mechanism)

    def option_values(self) -> dict[str, Any]:
        """The value of every option of the mechanisms, by name."""
        return attention.option_values(self.mechanism, dict(self.options))

    def mechanisms(self) -> tuple[Mechanism, ...]:
        """One mechanism per layer, with its options resolved at max_length."""
        mixture = [m.at_length(self.max_length) for m in attention.make(self.mechanism, dict(self.options))]
        if self.conv_size > 0:
            mixture = [attention.convolved(mechanism, self.conv_size) for mechanism in mixture]
        return tuple(mixture[layer % len(mixture)] for layer in range(self.num_layers))
