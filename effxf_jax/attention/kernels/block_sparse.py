"""Sparse masks declared block by block, and attention at the price of the pairs that they keep."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.kernels.layout import check_qkv, cut, join
from effxf_jax.attention.kernels.softmax import Segment, segment_attention

# Blocks so small are taken together, up to so many rows.
_TINY, _TILE = 4, 32


class BlockMask(NamedTuple):
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
        """The same mask over single positions, bool `[queries, keys]`; for tests and pictures."""
        blocks = -(-length // self.block_size)
        own = np.kron(np.eye(blocks, dtype=bool), self.within)
        before = np.kron(np.eye(blocks, k=-1, dtype=bool), self.before)
        earlier = np.kron(np.tri(blocks, k=-1, dtype=bool), self.earlier)
        return (own | before | earlier)[:length, :length]


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    """Softmax attention under a mask; shapes as for `Mechanism.attend`."""
    check_qkv(q, k, v)
    mask = in_tiles(mask, q.shape[1])
    queries, key, value = (cut(x, mask.block_size) for x in (q, k, v))
    return join(segment_attention(queries, segments(key, value, mask)))[:, : q.shape[1]]


def in_tiles(mask: BlockMask, length: int) -> BlockMask:
    """The same mask in larger blocks, where its own are tiny and it keeps of earlier ones summaries only.

    Very many products of a few rows take longer than fewer, larger ones of which a mask takes some away.
    """
    is_summary = not mask.before.any() and np.all(mask.earlier == mask.earlier[0])
    blocks = -(-length // mask.block_size)
    if mask.block_size > _TINY or not is_summary:
        return mask
    tiles = -(-blocks // (_TILE // mask.block_size))
    of_tile = -(-blocks // tiles)
    size = of_tile * mask.block_size
    return BlockMask(
        within=mask.dense(size),
        before=np.zeros((size, size), bool),
        earlier=np.tile(mask.earlier, (of_tile, of_tile)),
    )


def segments(key: jax.Array, value: jax.Array, mask: BlockMask) -> list[Segment]:
    """What a mask keeps of a sequence `[batch, heads, blocks, block_size, head_dim]` from its start."""
    blocks = key.shape[2]
    parts = [Segment('block', key, value, mask.within)]
    if blocks == 1:
        return parts
    if mask.before.any():
        one_later = lambda x: jnp.pad(x[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0), (0, 0)))
        is_there = np.arange(blocks)[:, None, None] > 0
        parts.append(Segment('block', one_later(key), one_later(value), mask.before & is_there))
    if mask.earlier.any():
        parts.append(_earlier_segment(key, value, mask))
    return parts


def _earlier_segment(key: jax.Array, value: jax.Array, mask: BlockMask) -> Segment:
    """What a mask keeps of all earlier blocks of a sequence from its start."""
    batch, heads, blocks, block_size, head_dim = key.shape
    is_earlier = np.tri(blocks, k=-1, dtype=bool)
    if np.array_equal(mask.earlier, np.eye(block_size, dtype=bool)):
        by_place = lambda x: x.swapaxes(2, 3)
        return Segment('offset', by_place(key), by_place(value), is_earlier[:, None])
    columns = np.flatnonzero(mask.earlier[0])
    assert np.all(mask.earlier == mask.earlier[0]), 'neither a summary nor the diagonal'
    # No block sees the last one's summary.
    summaries = lambda x: x[:, :, :-1, columns].reshape(batch, heads, -1, head_dim)
    seen = np.repeat(is_earlier[:, :-1], len(columns), axis=1)
    return Segment('all', summaries(key), summaries(value), seen[:, None])
