"""Recurrences in chunks: decays within a chunk, states across chunks, and what both need."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.layout import cut

# Added to the mean square by which an output is divided.
_EPSILON = 1e-6


class State(NamedTuple):
    """A state that keys address and values fill.

    Attributes:
        key_value: float32 `[batch, heads, head_dim, head_dim]`, with a row for each feature of a key.
    """

    key_value: jax.Array


def check_size(chunk_size: int) -> None:
    """Raises ValueError unless chunk_size is at least 1."""
    if chunk_size < 1:
        raise ValueError(f'chunk_size must be at least 1; got {chunk_size}')


def even_length(length: int, most: int) -> int:
    """The length of equal chunks, as few as `most` allows: for 68 tokens two of 34, not 64 and 4."""
    return -(-length // -(-length // most))


def num_pairs(length: int, size: int) -> int:
    """How many pairs of a position and itself or an earlier one in its chunk a sequence has."""
    whole, rest = divmod(length, size)
    return whole * size * (size + 1) // 2 + rest * (rest + 1) // 2


def cut_numbers(x: jax.Array, size: int) -> jax.Array:
    """`[batch, length, heads] -> [batch, heads, chunks, size]`, zero-padded."""
    return cut(x[..., None], size)[..., 0]


class Decay:
    """The products of gates between positions of a chunk, float32; all are at most 1.

    Attributes:
        from_begin: `[..., size]`, of all gates up to a position's own: what is left there of the state before
            the chunk.
        to_end: `[..., size]`, of all gates behind a position.
        between: `[..., size, size]`, by position and earlier position, of the gates behind the earlier one up
            to the later one's own; 0 for pairs of a position and a later one.
        whole: `[...]`, of all gates of a chunk.
    """

    def __init__(self, log: jax.Array):
        """Takes the logarithms of the gates, `[..., size]`, none above 0."""
        total = jnp.cumsum(log, axis=-1)
        self.from_begin = jnp.exp(total)
        self.to_end = jnp.exp(total[..., -1:] - total)
        self.whole = self.from_begin[..., -1]
        difference = total[..., :, None] - total[..., None, :]
        self.between = jnp.exp(jnp.where(jnp.tri(log.shape[-1], dtype=bool), difference, -jnp.inf))


def states(decay: jax.Array, sums: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The states before each chunk, and after the last, of `S_c = decay_c S_{c-1} + sums_c`.

    Args:
        decay: float32 `[batch, heads, chunks]`.
        sums: float32 `[batch, heads, chunks, head_dim, head_dim]`.
        start: the state before the first chunk, float32 `[batch, heads, head_dim, head_dim]`.
    """

    def combine(first, second):
        kept = second[0][..., None, None]
        return first[0] * second[0], kept * first[1] + second[1]

    sums = sums.at[:, :, 0].add(decay[:, :, 0, None, None] * start)
    _, after = jax.lax.associative_scan(combine, (decay, sums), axis=2)
    return jnp.concatenate([start[:, :, None], after[:, :, :-1]], axis=2), after[:, :, -1]


def rms(x: jax.Array) -> jax.Array:
    """Divides by the root mean square over the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + _EPSILON)


def empty_state(batch: int, length, heads: int, head_dim: int, dtype) -> State:
    """The empty state, whose size and dtype do not depend on `length` and `dtype`."""
    del length, dtype
    return State(jnp.zeros((batch, heads, head_dim, head_dim), jnp.float32))
