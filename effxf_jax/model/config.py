"""Sizes of a Transformer."""

import dataclasses

from effxf_jax import attention
from effxf_jax.attention import Mechanism

DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of a Transformer.

    Attributes:
        vocab_size: tokens in the vocabulary.
        max_length: the longest sequence, in tokens.
        dim: width D of the residual stream; even, and divisible by num_heads.
        num_heads: attention heads.
        num_layers: blocks.
        mechanism: the layers' attention, a name of `attention.MECHANISMS` or several joined by `+`,
            which the layers take in turn, over and over: `'linear+linear+standard'`.
        dropout: rate on embeddings and on residual branches while training.
        dtype: dtype of activations; parameters, softmax and sums are float32.
        block_size, summary_size, pattern, window, feature_map, chunk_size: options of the mechanisms; see
            there.

    Raises:
        ValueError: naming every value that is out of range.
    """

    vocab_size: int
    max_length: int
    dim: int = 64
    num_heads: int = 4
    num_layers: int = 3
    mechanism: str = 'standard'
    dropout: float = 0.1
    dtype: str = 'float32'
    block_size: int | None = None
    summary_size: int = 1
    pattern: str = 'fixed'
    window: int | None = None
    feature_map: str = 'elu_plus_one'
    chunk_size: int = 64

    def __post_init__(self):
        problems = [
            f'{name} must be at least 1; got {getattr(self, name)}'
            for name in ('vocab_size', 'max_length', 'dim', 'num_heads', 'num_layers')
            if getattr(self, name) < 1
        ]
        if self.num_heads >= 1 and self.dim % self.num_heads:
            problems.append(
                f'dim must be divisible by num_heads; got dim {self.dim}, num_heads {self.num_heads}'
            )
        if self.dim % 2:
            problems.append(f'dim must be even, for sines and cosines; got {self.dim}')
        if not 0 <= self.dropout < 1:
            problems.append(f'dropout must be in [0, 1); got {self.dropout}')
        if self.dtype not in DTYPES:
            problems.append(f'dtype must be one of {", ".join(DTYPES)}; got {self.dtype!r}')
        try:
            self.mechanisms()
        except ValueError as error:
            problems.append(str(error))
        if self.mechanism.count('+') >= self.num_layers:
            problems.append(f'{self.num_layers} layers are too few for the pattern {self.mechanism!r}')
        if problems:
            raise ValueError('\n'.join(problems))

    def mechanisms(self) -> tuple[Mechanism, ...]:
        """One mechanism per layer, resolved at max_length."""
        options = {name: getattr(self, name) for name in attention.options()}
        pattern = [m.at_length(self.max_length) for m in attention.make(self.mechanism, **options)]
        return tuple(pattern[layer % len(pattern)] for layer in range(self.num_layers))
