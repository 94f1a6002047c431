"""The contract of an attention mechanism.

A mechanism is a value made of pure functions over arrays laid out `[batch, length, heads, head_dim]`.
Everything that a Transformer, a decoder or a cost model needs to know about attention is here;
a mechanism knows neither models nor tasks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Cache = Any
"""A mechanism's own pytree: what decoding must remember of the tokens it has seen."""


class Cost(NamedTuple):
    """What one causal pass over a whole sequence takes, per example.

    Attributes:
        macs: multiply-adds, from the mechanism's equations; one exponential, division or comparison
            per score is not counted.
        bytes: bytes that must be moved at least: q, k, v, the output and a state where there is one, each
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


class Mechanism(NamedTuple):
    """Causal attention as pure functions.

    Attributes:
        name: the mechanism's name, with its options, for tables and messages.
        attend: `(q, k, v) -> out`. All four are `[batch, length, heads, head_dim]` of one dtype, for
            any `length >= 1`. `out[:, t]` depends on `q[:, t]` and on `k` and `v` at positions `<= t`.
        init_cache: `(batch, length, heads, head_dim, dtype) -> cache`, empty, for at most `length`
            tokens. A cache that holds fewer, padded with zeros to the shapes of a longer one, is that one.
        step: `(cache, q, k, v) -> (cache, out)` for one token; q, k, v and out are
            `[batch, heads, head_dim]`.
        prefill: `(cache, q, k, v) -> (cache, out)` for a stretch of tokens, laid out as for `attend`,
            that continues what the cache holds. It leaves the cache that stepping would.
        cost: `(length, heads, head_dim) -> Cost` of `attend`.
        memory: `(length) -> Memory` after `length` tokens.
        state_size: `(length, heads, head_dim) -> int`: how many numbers fix all that is generated
            after `length` tokens (the paper's information bottleneck): keys and values of
            the memory's positions, or the state.
        complexity: the order of `cost(...).macs` as a formula in L, the length, D = heads * head_dim, and
            the mechanism's own sizes.
        block_size: where memory shrinks at a block's end, the block's size; else None.
        at_length: `(max_length) -> Mechanism`: the mechanism with every option that depends on the
            longest sequence resolved, so that shorter batches and the decoder agree on it.
    """

    name: str
    attend: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    init_cache: Callable[..., Cache]
    step: Callable[[Cache, jax.Array, jax.Array, jax.Array], tuple[Cache, jax.Array]]
    prefill: Callable[[Cache, jax.Array, jax.Array, jax.Array], tuple[Cache, jax.Array]]
    cost: Callable[[int, int, int], Cost]
    memory: Callable[[int], Memory]
    state_size: Callable[[int, int, int], int]
    complexity: str
    at_length: Callable[[int], 'Mechanism']
    block_size: int | None = None


def keys_and_values(memory: Callable[[int], Memory]) -> Callable[[int, int, int], int]:
    """The `state_size` of a memory of positions."""
    return lambda length, heads, head_dim: 2 * memory(length).positions * heads * head_dim
