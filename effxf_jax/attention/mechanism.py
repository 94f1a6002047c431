"""The contract of an attention mechanism.

A mechanism is a tuple of pure functions. It declares its projections, the linear maps of the residual stream
that yield its inputs; parameters, cost, weight decay and head axes follow from them. The contract holds all
that a Transformer, a decoder or a cost model needs to know about attention; a mechanism depends on neither
models nor tasks.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Cache = Any
"""A mechanism's own pytree: what decoding must keep of the tokens seen so far.

Its leaves are `[batch, heads, ...]`, or scalars that all rows share. If heads differ, a leaf has the heads of
one kind.
"""


class Cost(NamedTuple):
    """The cost of one causal pass over a whole sequence, per example.

    Attributes:
        macs: multiply-adds in the mechanism's equations; the exponential, division or comparison of each
            score is not counted.
        bytes: the least number of bytes to move: every input, the output and the state (if any), each once,
            in float32.
    """

    macs: int
    bytes: int


class Memory(NamedTuple):
    """The part of the past that later outputs can depend on.

    Attributes:
        name: what holds it, as reports say it: 'the window'.
        positions: how many earlier positions later queries attend to; None if a state replaces them.
    """

    name: str
    positions: int | None


class Projection(NamedTuple):
    """A linear map of the residual stream, with a bias, that yields some of a mechanism's inputs.

    Attributes:
        name: the name of its parameters.
        count: how many inputs it yields, each `[batch, length, heads, size]`.
        size: features of an input, per head and token; None means head_dim.
        decays: whether weight decay applies to its matrix.
    """

    name: str
    count: int = 1
    size: int | None = None
    decays: bool = True

    def features(self, heads: int, head_dim: int) -> int:
        """Output features per token, over all inputs and heads."""
        return self.count * heads * (head_dim if self.size is None else self.size)


QKV = Projection('qkv', count=3)
"""Queries, keys and values."""


class Parameter(NamedTuple):
    """A learned array of a mechanism that no token changes, such as decay rates or a convolution's kernel.

    Attributes:
        name: the name of the parameter.
        shape: `(heads, head_dim) -> shape`.
        init: `(key, shape, dtype) -> array`, as `flax.linen.initializers` make them.
        decays: whether weight decay applies to it.
    """

    name: str
    shape: Callable[[int, int], tuple[int, ...]]
    init: Callable[..., jax.Array]
    decays: bool = False

    def size(self, heads: int, head_dim: int) -> int:
        """How many numbers the parameter has."""
        return math.prod(self.shape(heads, head_dim))


class Mechanism(NamedTuple):
    """Causal attention as pure functions.

    Below, `inputs` are the arrays that all projections yield, in their order, by default q, k and v; then the
    mechanism's own parameters, float32, in their order, which have no axis of rows or tokens.

    Attributes:
        attend: `(*inputs) -> out` over a whole sequence of any `length >= 1`. Inputs are
            `[batch, length, heads, size]` of one dtype; out is `[batch, length, heads, head_dim]`.
            `out[:, t]` depends on q at position t, and on the other inputs at positions `<= t`.
        init_cache: `(batch, length, heads, head_dim, dtype) -> cache`, an empty cache for at most `length`
            tokens. A cache that is not full, padded with zeros to the shapes of a longer one, must work as
            that longer cache.
        step: `(cache, *inputs) -> (cache, out)` for one token; inputs are `[batch, heads, size]`, and out is
            `[batch, heads, head_dim]`.
        prefill: `(cache, *inputs) -> (cache, out)` for a stretch of tokens that follow those in the cache;
            arrays as for `attend`. The cache is the same as after as many calls of `step`.
        cost: `(length, heads, head_dim) -> Cost`, the cost of `attend`.
        memory: `(length) -> Memory`, the memory after `length` tokens.
        state_size: `(length, heads, head_dim) -> int`, how many numbers determine everything generated
            after `length` tokens (the paper's information bottleneck): the keys and values of
            the memory's positions, or the state.
        complexity: the order of `cost(...).macs` as a formula in the length L, the width D = heads *
            head_dim, and the mechanism's own sizes.
        at_length: `(max_length) -> Mechanism`, the mechanism with every option that depends on the
            longest sequence resolved, so that shorter batches and the decoder use the same values.
        block_size: the size of the blocks at whose ends the memory shrinks; None if it never shrinks.
        projections: the projections that yield the inputs.
        parameters: learned arrays of its own, passed behind the inputs.
        span: the name of the option that sets the size of its blocks or its window; None if it has neither.
            Reports compare mechanisms over it.
        matrices: the fields of the cache that are matrices, `[batch, heads, rows, columns]`, with a rank.
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
    parameters: tuple[Parameter, ...] = ()
    span: str | None = None
    matrices: tuple[str, ...] = ()


def cost_of_pairs(pairs: int, length: int, heads: int, head_dim: int) -> Cost:
    """The cost of softmax attention that keeps `pairs` query-key pairs of a sequence.

    Each kept pair costs one dot product for the score and one scaled sum of values. The bytes are those of
    q, k, v and the output.
    """
    return Cost(macs=2 * pairs * heads * head_dim, bytes=4 * 4 * length * heads * head_dim)


def keys_and_values(memory: Callable[[int], Memory]) -> Callable[[int, int, int], int]:
    """The `state_size` of a mechanism whose memory is keys and values of positions."""
    return lambda length, heads, head_dim: 2 * memory(length).positions * heads * head_dim
