"""The contract of an attention mechanism.

A mechanism is a value made of pure functions. It declares what it reads of the residual stream, its
projections; parameters, cost, weight decay and the axes of heads follow from that. Everything that a
Transformer, a decoder or a cost model needs to know about attention is here; a mechanism knows neither models
nor tasks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Cache = Any
"""A mechanism's own pytree: what decoding must remember of the tokens that it has seen.

Its leaves are `[batch, heads, ...]`, or scalars that are the same for all rows.
"""


class Cost(NamedTuple):
    """What one causal pass over a whole sequence takes, per example.

    Attributes:
        macs: multiply-adds, from the mechanism's equations; one exponential, division or comparison
            per score is not counted.
        bytes: bytes that must be moved at least: every input, the output and a state where there is one, each
            once, in float32.
    """

    macs: int
    bytes: int


class Memory(NamedTuple):
    """What of the past can reach anything later.

    Attributes:
        name: of the neurons that all later output must pass through, where it looks back.
        positions: how many earlier positions later ones attend to; None where a state stands for them.
    """

    name: str
    positions: int | None


class Projection(NamedTuple):
    """A linear map, with a bias, of the residual stream: where some of a mechanism's inputs come from.

    Attributes:
        name: of its parameters.
        count: how many inputs it yields, each `[batch, length, heads, size]`.
        size: numbers of an input, per head and token; None means head_dim.
        decays: whether weight decay applies to its matrix.
    """

    name: str
    count: int = 1
    size: int | None = None
    decays: bool = True

    def features(self, heads: int, head_dim: int) -> int:
        """Numbers per token, over all of its inputs and heads."""
        return self.count * heads * (head_dim if self.size is None else self.size)


QKV = Projection('qkv', count=3)
"""Queries, keys and values."""


class Mechanism(NamedTuple):
    """Causal attention as pure functions.

    In the functions below, `inputs` are the arrays of all projections in their order: q, k and v, where
    nothing else is declared.

    Attributes:
        attend: `(*inputs) -> out`. Inputs are `[batch, length, heads, size]` of one dtype, for any
            `length >= 1`; out is `[batch, length, heads, head_dim]`. `out[:, t]` depends on q at t, and on
            the other inputs at positions `<= t`.
        init_cache: `(batch, length, heads, head_dim, dtype) -> cache`, empty, for at most `length`
            tokens. A cache that holds fewer, padded with zeros to the shapes of a longer one, is that one.
        step: `(cache, *inputs) -> (cache, out)` for one token; inputs are `[batch, heads, size]`, and out is
            `[batch, heads, head_dim]`.
        prefill: `(cache, *inputs) -> (cache, out)` for a stretch of tokens, laid out as for `attend`,
            that continues what the cache holds. It leaves the cache that stepping would.
        cost: `(length, heads, head_dim) -> Cost` of `attend`.
        memory: `(length) -> Memory` after `length` tokens.
        state_size: `(length, heads, head_dim) -> int`: how many numbers fix all that is generated
            after `length` tokens (the paper's information bottleneck): keys and values of
            the memory's positions, or the state.
        complexity: the order of `cost(...).macs` as a formula in L, the length, D = heads * head_dim, and
            the mechanism's own sizes.
        at_length: `(max_length) -> Mechanism`: the mechanism with every option that depends on the
            longest sequence resolved, so that shorter batches and the decoder agree on it.
        block_size: where memory shrinks at a block's end, the block's size; else None.
        projections: what it reads of the residual stream.
        matrices: fields of its cache that are `[batch, heads, rows, columns]`, matrices with a rank.
    """

    attend: Callable[..., jax.Array]
    init_cache: Callable[..., Cache]
    step: Callable[..., tuple[Cache, jax.Array]]
    prefill: Callable[..., tuple[Cache, jax.Array]]
    cost: Callable[[int, int, int], Cost]
    memory: Callable[[int], Memory]
    state_size: Callable[[int, int, int], int]
    complexity: str
    at_length: Callable[[int], 'Mechanism']
    block_size: int | None = None
    projections: tuple[Projection, ...] = (QKV,)
    matrices: tuple[str, ...] = ()


def keys_and_values(memory: Callable[[int], Memory]) -> Callable[[int, int, int], int]:
    """The `state_size` of a memory of positions."""
    return lambda length, heads, head_dim: 2 * memory(length).positions * heads * head_dim
