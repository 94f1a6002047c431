"""Block-sparse masks, and softmax attention whose cost grows with the number of pairs that they keep."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.kernels import tiled
from effxf_jax.attention.kernels.layout import check_qkv, cut, heads_major, join
from effxf_jax.attention.kernels.softmax import Segment, segment_attention

# Blocks of at most _TINY positions are merged into larger ones of at most _TILE positions.
_TINY, _TILE = 8, 32
# Where each query sees its own offset in every earlier block, all pairs in rows are faster up to this length,
# and for blocks of at most 4 positions up to the second one.
_LONGEST_DENSE, _LONGEST_DENSE_TINY = 256, tiled.LONGEST_IN_ROWS


class BlockMask(NamedTuple):
    """Which keys a query sees, by the offsets of query and key in their blocks.

    Each field is bool `[block_size, block_size]`, queries by keys. `before` and `earlier` must not overlap:
    the softmax would count such a pair twice.

    Attributes:
        within: keys of the query's own block.
        before: keys of the preceding block.
        earlier: keys of every earlier block, including the preceding one. Either the same for all queries
            (each block's summary), or the identity matrix (in each block, the key at the query's offset).
    """

    within: np.ndarray
    before: np.ndarray
    earlier: np.ndarray

    @property
    def block_size(self) -> int:
        return len(self.within)

    @property
    def sees_summaries(self) -> bool:
        """Whether all queries see the same keys of every earlier block, or none."""
        return bool(np.all(self.earlier == self.earlier[0]))

    def dense(self, length: int) -> np.ndarray:
        """The mask over single positions, bool `[length, length]`, queries by keys."""
        blocks = -(-length // self.block_size)
        own = np.kron(np.eye(blocks, dtype=bool), self.within)
        before = np.kron(np.eye(blocks, k=-1, dtype=bool), self.before)
        earlier = np.kron(np.tri(blocks, k=-1, dtype=bool), self.earlier)
        return (own | before | earlier)[:length, :length]


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    """Softmax attention under a mask; shapes as for `Mechanism.attend`."""
    check_qkv(q, k, v)
    length = q.shape[1]
    if _is_faster_dense(mask, length):
        kept = mask.dense(length)
        of_row = lambda begin, end: kept[begin:end, :end]
        return heads_major(tiled.attend_in_rows(*map(heads_major, (q, k, v)), of_row))
    mask = in_tiles(mask, length)
    queries, key, value = (cut(x, mask.block_size) for x in (q, k, v))
    return join(segment_attention(queries, segments(key, value, mask)))[:, :length]


def _is_faster_dense(mask: BlockMask, length: int) -> bool:
    return not mask.sees_summaries and length <= (
        _LONGEST_DENSE_TINY if mask.block_size <= 4 else _LONGEST_DENSE
    )


def in_tiles(mask: BlockMask, length: int) -> BlockMask:
    """Merges tiny blocks into larger ones without changing the mask over single positions.

    Many products of a few rows take longer than fewer, larger products of which the mask discards a part.
    Masks of larger blocks, and those that see more of earlier blocks than summaries, are returned unchanged.
    """
    blocks = -(-length // mask.block_size)
    if mask.block_size > _TINY or not mask.sees_summaries:
        return mask
    tiles = -(-blocks // (_TILE // mask.block_size))
    of_tile = -(-blocks // tiles)
    size = of_tile * mask.block_size
    without_earlier = mask._replace(earlier=np.zeros_like(mask.earlier))
    return BlockMask(
        within=mask.dense(size),
        before=without_earlier.dense(2 * size)[size:, :size],
        earlier=np.tile(mask.earlier, (of_tile, of_tile)),
    )


def segments(key: jax.Array, value: jax.Array, mask: BlockMask) -> list[Segment]:
    """The keys and values of a whole sequence that a mask keeps.

    Args:
        key, value: `[batch, heads, blocks, block_size, head_dim]`.
        mask: a mask of the same block size.
    """
    blocks = key.shape[2]
    parts = [Segment('block', key, value, mask.within)]
    if blocks == 1:
        return parts
    if mask.before.any():
        # Of a large block only the end may be seen.
        first = np.flatnonzero(mask.before.any(axis=0))[0]
        first = first if first > mask.block_size // 2 else 0
        one_later = lambda x: jnp.pad(x[:, :, :-1, first:], ((0, 0), (0, 0), (1, 0), (0, 0), (0, 0)))
        is_there = np.arange(blocks)[:, None, None] > 0
        parts.append(Segment('block', one_later(key), one_later(value), mask.before[:, first:] & is_there))
    if mask.earlier.any():
        parts.append(_earlier_segment(key, value, mask))
    return parts


def _earlier_segment(key: jax.Array, value: jax.Array, mask: BlockMask) -> Segment:
    """The keys and values of earlier blocks that a mask keeps."""
    batch, heads, blocks, block_size, head_dim = key.shape
    is_earlier = np.tri(blocks, k=-1, dtype=bool)
    if np.array_equal(mask.earlier, np.eye(block_size, dtype=bool)):
        by_place = lambda x: x.swapaxes(2, 3)
        return Segment('offset', by_place(key), by_place(value), is_earlier[:, None])
    columns = np.flatnonzero(mask.earlier[0])
    assert mask.sees_summaries, '`earlier` must be a summary or the identity'
    # No block sees the last block's summary.
    summaries = lambda x: x[:, :, :-1, columns].reshape(batch, heads, -1, head_dim)
    seen = np.repeat(is_earlier[:, :-1], len(columns), axis=1)
    return Segment('all', summaries(key), summaries(value), seen[:, None])
