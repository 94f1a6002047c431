"""What a forward pass of the Transformer takes: multiply-adds, and bytes at least.

The paper's complexities with constants instead of orders. Multiply-adds are those of the
equations: a matrix product of `[a, b]` and `[b, c]` is a * b * c of them; LayerNorm, softmax, GELU and sums
are not counted.
"""

from typing import NamedTuple

from effxf_jax.attention import Cost
from effxf_jax.model import ModelConfig

FLOPS_PER_MAC = 2
_FLOAT32 = 4


class ForwardCost(NamedTuple):
    """Of one sequence, by part.

    Bytes are a lower bound: each part reads its parameters and its input once and writes its output once, in
    float32, and keeps all else to itself.

    Attributes:
        attention: of all layers, by the mechanisms' own `cost`: 'q, k, v -> out'.
        projections: from and to the residual stream, LayerNorm included.
        feed_forward: likewise.
        vocabulary: the token embeddings and the output head, with their LayerNorms.
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
    """What a forward pass over `length` tokens takes, by default over max_length."""
    length = config.max_length if length is None else length
    dim, heads, layers, vocab = config.dim, config.num_heads, config.num_layers, config.vocab_size
    mechanisms = config.mechanisms()
    attention = [m.cost(length, heads, config.head_dim) for m in mechanisms]
    # Of all layers together: numbers of a token that their projections yield.
    features = sum(p.features(heads, config.head_dim) for m in mechanisms for p in m.projections)
    norm = 2 * dim
    stream = length * dim

    def part(macs: int, params: int, activations: int) -> Cost:
        return Cost(macs, _FLOAT32 * (params + activations))

    return ForwardCost(
        attention=Cost(*map(sum, zip(*attention, strict=True))),
        projections=part(
            macs=length * dim * (features + layers * dim),
            params=(dim + 1) * features + layers * ((dim + 1) * dim + norm),
            activations=length * features + layers * 3 * stream,  # x, the inputs; attention's output, x again
        ),
        feed_forward=part(
            macs=layers * length * 8 * dim**2,
            params=layers * (8 * dim**2 + 5 * dim + norm),
            activations=layers * 2 * stream,
        ),
        vocabulary=part(
            macs=length * dim * vocab,
            params=(min(vocab, length) + vocab) * dim
            + vocab
            + 2 * norm,  # embeddings that occur, and the head
            activations=2 * stream + length * (1 + vocab),
        ),
    )


def complexity_class(config: ModelConfig) -> str:
    """The order of a forward pass in L, D, the number of layers M and the mechanisms' own sizes.

    Of a mixture of mechanisms, the sum over the different ones.
    """
    orders = dict.fromkeys(m.complexity for m in config.mechanisms())
    return f'M({" + ".join(orders)} + LD²)'


def state_at(config: ModelConfig, length: int) -> int:
    """How many numbers decoding keeps behind `length` tokens, over all layers: keys and values, or states."""
    return sum(m.state_size(length, config.num_heads, config.head_dim) for m in config.mechanisms())


def state_size(config: ModelConfig, length: int | None = None) -> int:
    """The most numbers that decoding ever keeps while it writes `length` tokens, over all layers.

    These are keys and values, or states: what fixes all that is generated afterwards.
    """
    length = config.max_length if length is None else length
    # Where blocks end the state shrinks, so the last moments are not always the largest.
    longest_block = max(m.block_size or 1 for m in config.mechanisms())
    moments = range(max(1, length - longest_block), length + 1)
    return max(state_at(config, moment) for moment in moments)
