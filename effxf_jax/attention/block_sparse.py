"""Sparse patterns declared block by block, and attention at the price of the pairs that they keep."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.mechanism import Cost, Mechanism, Memory, check_qkv, keys_and_values
from effxf_jax.attention.softmax import Segment, heads_major, segment_attention

# Blocks so small are taken together, up to so many rows.
_TINY, _TILE = 4, 32


class BlockPattern(NamedTuple):
    """Which keys a query sees, by their places in their blocks; bool `[block_size, block_size]` each.

    No pair is of both `before` and `earlier`: its weight would count twice.

    Attributes:
        within: of its own block.
        before: of the block before it.
        earlier: of every earlier block, the one before it included. Either the same for all queries (each
            block's summary), or the diagonal (each block's key at the query's own place).
    """

    within: np.ndarray
    before: np.ndarray
    earlier: np.ndarray

    @property
    def block_size(self) -> int:
        return len(self.within)

    def dense(self, length: int) -> np.ndarray:
        """The same pattern over single positions, bool `[queries, keys]`; for tests and pictures."""
        blocks = -(-length // self.block_size)
        own = np.kron(np.eye(blocks, dtype=bool), self.within)
        before = np.kron(np.eye(blocks, k=-1, dtype=bool), self.before)
        earlier = np.kron(np.tri(blocks, k=-1, dtype=bool), self.earlier)
        return (own | before | earlier)[:length, :length]


def mechanism(
    name: str,
    pattern_for: Callable[[int], BlockPattern],
    pairs: Callable[[int], int],
    at_length: Callable[[int], Mechanism],
    init_cache,
    step,
    prefill,
    memory: Callable[[int], Memory],
    complexity: str,
    block_size: int | None = None,
) -> Mechanism:
    """A mechanism of a pattern; the rest as in `Mechanism`.

    Args:
        pattern_for: the pattern by length.
        pairs: how many pairs of query and key it keeps, by length; see `kept_pairs`.
    """

    def cost(length: int, heads: int, head_dim: int) -> Cost:
        # Of each kept pair a dot product, and a scaled value.
        return Cost(macs=2 * pairs(length) * heads * head_dim, bytes=4 * 4 * length * heads * head_dim)

    return Mechanism(
        name=name,
        attend=lambda q, k, v: attend(q, k, v, pattern_for(q.shape[1])),
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=memory,
        state_size=keys_and_values(memory),
        complexity=complexity,
        at_length=at_length,
        block_size=block_size,
    )


def kept_pairs(length: int, block_size: int, before: bool, earlier: int) -> int:
    """Pairs of a pattern that keeps, of a query's own block, all that is not in the future.

    Args:
        length: positions.
        block_size: of the pattern.
        before: whether it keeps of the block before what makes `block_size` positions in all.
        earlier: how many positions of every earlier block it keeps, besides.
    """
    blocks, rest = divmod(length, block_size)
    own = blocks * (block_size * (block_size + 1) // 2) + rest * (rest + 1) // 2
    # A query at place i sees block_size - 1 - i of the block before.
    of_rest = rest * (block_size - 1) - rest * (rest - 1) // 2
    window = max(blocks - 1, 0) * (block_size * (block_size - 1) // 2) + (blocks > 0) * of_rest
    return own + before * window + earlier * (blocks * (blocks - 1) // 2 * block_size + blocks * rest)


def default_block_size(length: int) -> int:
    """The largest power of two <= sqrt(length)."""
    return 2 ** int(math.log2(math.isqrt(length)))


def cut(x: jax.Array, block_size: int) -> jax.Array:
    """`[batch, length, heads, head_dim] -> [batch, heads, blocks, block_size, head_dim]`, padded with 0."""
    batch, length, heads, head_dim = x.shape
    blocks = -(-length // block_size)
    x = jnp.pad(x, ((0, 0), (0, blocks * block_size - length), (0, 0), (0, 0)))
    return heads_major(x).reshape(batch, heads, blocks, block_size, head_dim)


def join(x: jax.Array) -> jax.Array:
    """`[batch, heads, blocks, block_size, head_dim] -> [batch, blocks * block_size, heads, head_dim]`."""
    batch, heads, blocks, block_size, head_dim = x.shape
    return heads_major(x.reshape(batch, heads, blocks * block_size, head_dim))


def attend(q: jax.Array, k: jax.Array, v: jax.Array, pattern: BlockPattern) -> jax.Array:
    """Softmax attention under a pattern; shapes as for `Mechanism.attend`."""
    check_qkv(q, k, v)
    pattern = in_tiles(pattern, q.shape[1])
    queries, key, value = (cut(x, pattern.block_size) for x in (q, k, v))
    return join(segment_attention(queries, segments(key, value, pattern)))[:, : q.shape[1]]


def in_tiles(pattern: BlockPattern, length: int) -> BlockPattern:
    """The same pattern in larger blocks, where its own are tiny and it keeps of earlier ones summaries only.

    Very many products of a few rows take longer than fewer, larger ones of which a mask takes some away.
    """
    is_summary = not pattern.before.any() and np.all(pattern.earlier == pattern.earlier[0])
    blocks = -(-length // pattern.block_size)
    if pattern.block_size > _TINY or not is_summary:
        return pattern
    tiles = -(-blocks // (_TILE // pattern.block_size))
    of_tile = -(-blocks // tiles)
    size = of_tile * pattern.block_size
    return BlockPattern(
        within=pattern.dense(size),
        before=np.zeros((size, size), bool),
        earlier=np.tile(pattern.earlier, (of_tile, of_tile)),
    )


def segments(key: jax.Array, value: jax.Array, pattern: BlockPattern) -> list[Segment]:
    """What a pattern keeps of a sequence `[batch, heads, blocks, block_size, head_dim]` from its start."""
    blocks = key.shape[2]
    parts = [Segment('block', key, value, pattern.within)]
    if blocks == 1:
        return parts
    if pattern.before.any():
        one_later = lambda x: jnp.pad(x[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0), (0, 0)))
        is_there = np.arange(blocks)[:, None, None] > 0
        parts.append(Segment('block', one_later(key), one_later(value), pattern.before & is_there))
    if pattern.earlier.any():
        parts.append(_earlier_segment(key, value, pattern))
    return parts


def _earlier_segment(key: jax.Array, value: jax.Array, pattern: BlockPattern) -> Segment:
    """What a pattern keeps of all earlier blocks of a sequence from its start."""
    batch, heads, blocks, block_size, head_dim = key.shape
    is_earlier = np.tri(blocks, k=-1, dtype=bool)
    if np.array_equal(pattern.earlier, np.eye(block_size, dtype=bool)):
        by_place = lambda x: x.swapaxes(2, 3)
        return Segment('offset', by_place(key), by_place(value), is_earlier[:, None])
    columns = np.flatnonzero(pattern.earlier[0])
    assert np.all(pattern.earlier == pattern.earlier[0]), 'neither a summary nor the diagonal'
    # No block sees the last one's summary.
    summaries = lambda x: x[:, :, :-1, columns].reshape(batch, heads, -1, head_dim)
    seen = np.repeat(is_earlier[:, :-1], len(columns), axis=1)
    return Segment('all', summaries(key), summaries(value), seen[:, None])
