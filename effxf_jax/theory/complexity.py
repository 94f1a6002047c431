"""The cost of the Transformer's forward pass: multiply-adds, and a lower bound on the bytes moved.

These are the paper's complexities with constants instead of orders. Multiply-adds are counted from the
equations: the product of matrices `[a, b]` and `[b, c]` takes a * b * c. LayerNorm, softmax, GELU and sums
are not counted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from effxf_jax.attention import Cost, Mechanism
from effxf_jax.model import ModelConfig

FLOPS_PER_MAC = 2
_FLOAT32 = 4


class ForwardCost(NamedTuple):
    """The cost of one sequence, by part, each over all layers.

    Bytes are a lower bound: each part reads its parameters and its input once, writes its output once, in
    float32, and moves nothing else.

    Attributes:
        attention: from q, k and v to the output, by the mechanisms' own `cost`.
        projections: projections from and to the residual stream, including LayerNorm.
        feed_forward: feed-forward networks, including LayerNorm.
        vocabulary: the embeddings of tokens and positions and the output head, including their LayerNorms.
    """

    attention: Cost
    projections: Cost
    feed_forward: Cost
    vocabulary: Cost

    @property
    def total(self) -> Cost:
        return Cost(*map(sum, zip(*self, strict=True)))

    @property
    def flops(self) -> int:
        return FLOPS_PER_MAC * self.total.macs


def forward_cost(config: ModelConfig, length: int | None = None) -> ForwardCost:
    """The cost of a forward pass over `length` tokens, by default max_length."""
    length = config.max_length if length is None else length
    dim, heads, layers, vocab = config.dim, config.num_heads, config.num_layers, config.vocab_size
    attention = [m.cost(length, heads, config.head_dim) for m in config.mechanisms()]
    features = _features(config)
    params = _params(config)
    stream = length * dim
    # Rows of the embeddings of tokens and positions that cannot occur.
    unused = max(vocab - length, 0) + max(_positions(config) - length, 0)

    def part(macs: int, params: int, activations: int) -> Cost:
        return Cost(macs, _FLOAT32 * (params + activations))

    return ForwardCost(
        attention=Cost(*map(sum, zip(*attention, strict=True))),
        projections=part(
            macs=length * dim * (features + layers * dim),
            params=params.projections,
            activations=length * features + layers * 3 * stream,  # x twice and attention's output
        ),
        feed_forward=part(
            macs=layers * length * 8 * dim**2,
            params=params.feed_forward,
            activations=layers * 2 * stream,
        ),
        vocabulary=part(
            macs=length * dim * vocab,
            params=params.vocabulary - unused * dim,
            activations=2 * stream + length * (1 + vocab),
        ),
    )


def num_params(config: ModelConfig) -> int:
    """The number of the model's parameters."""
    return sum(_params(config))


class _Params(NamedTuple):
    """Numbers of parameters over all layers, by the parts of ForwardCost."""

    projections: int
    feed_forward: int
    vocabulary: int


def _params(config: ModelConfig) -> _Params:
    dim, layers, vocab = config.dim, config.num_layers, config.vocab_size
    own = sum(p.size(config.num_heads, config.head_dim) for m in config.mechanisms() for p in m.parameters)
    norm = 2 * dim
    return _Params(
        projections=(dim + 1) * _features(config) + own + layers * ((dim + 1) * dim + norm),
        feed_forward=layers * (8 * dim**2 + 5 * dim + norm),
        vocabulary=(2 * vocab + _positions(config)) * dim + vocab + 2 * norm,
    )


def _positions(config: ModelConfig) -> int:
    """Rows of the table of learned positions."""
    return config.max_length if config.positions == 'learned' else 0


def _features(config: ModelConfig) -> int:
    """Numbers per token that the projections of all layers yield."""
    return sum(
        p.features(config.num_heads, config.head_dim) for m in config.mechanisms() for p in m.projections
    )


def complexity_class(config: ModelConfig) -> str:
    """The order of a forward pass in L, D, the number of layers M and the mechanisms' own sizes.

    For a mixture, the sum over its distinct mechanisms.
    """
    orders = dict.fromkeys(m.complexity for m in config.mechanisms())
    return f'M({" + ".join(orders)} + LD²)'


def state_at(config: ModelConfig, length: int) -> int:
    """How many numbers decoding keeps after `length` tokens, over all layers: keys and values, or states."""
    return _state_at(config, config.mechanisms(), length)


def state_size(config: ModelConfig) -> int:
    """The most numbers that decoding keeps at once while it writes max_length tokens, over all layers.

    These are keys and values, or states; they determine all tokens generated later.
    """
    # The state shrinks at the end of a block, so the last state is not always the largest.
    mechanisms = config.mechanisms()
    longest_block = max(m.block_size or 1 for m in mechanisms)
    lengths = range(max(1, config.max_length - longest_block), config.max_length + 1)
    return max(_state_at(config, mechanisms, length) for length in lengths)


def _state_at(config: ModelConfig, mechanisms: Sequence[Mechanism], length: int) -> int:
    return sum(m.state_size(length, config.num_heads, config.head_dim) for m in mechanisms)
