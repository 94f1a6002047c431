"""The pattern 'strided' of `sparse`: a query sees the last positions and every stride-th one before them.

Where heads are separate, some see the last positions alone, a sliding window, the others the column alone.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention import block_masked
from effxf_jax.attention.block_masked import default_block_size, kept_pairs
from effxf_jax.attention.kernels.block_sparse import BlockMask
from effxf_jax.attention.kernels.layout import blocks_update, check_qkv, cut, join, token_update
from effxf_jax.attention.kernels.softmax import Segment, masked_attention, segment_attention
from effxf_jax.attention.mechanism import Mechanism
from effxf_jax.attention.standard import memory


class StridedCache(NamedTuple):
    """The keys and values of all tokens seen: each lies a multiple of the stride before some later query.

    Attributes:
        key, value: `[batch, heads, blocks, stride, head_dim]`; slots from position `index` on are empty.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    index: jax.Array


def strided(stride: int | None, column_alone: bool = False) -> Mechanism:
    """`sparse(block_size=stride, pattern='strided')`, or the column alone: every stride-th position."""

    def stride_for(length: int) -> int:
        return stride or default_block_size(length)

    def init_cache(batch, length, heads, head_dim, dtype):
        size = stride_for(length)
        empty = jnp.zeros((batch, heads, -(-length // size), size, head_dim), dtype)
        return StridedCache(empty, empty, jnp.int32(0))

    def pairs(length):
        within = 0 if column_alone else None
        return kept_pairs(length, stride_for(length), before=not column_alone, earlier=1, within=within)

    mask_of = functools.partial(strided_mask, column_alone=column_alone)
    return block_masked.mechanism(
        mask_for=lambda length: mask_of(stride_for(length)),
        pairs=pairs,
        at_length=lambda max_length: strided(stride_for(max_length), column_alone),
        init_cache=init_cache,
        step=functools.partial(_step, mask_of=mask_of),
        prefill=functools.partial(_prefill, mask_of=mask_of),
        memory=memory,
        complexity='L(B + L/B)D',
        span='block_size',
    )


def strided_mask(stride: int, column_alone: bool = False) -> BlockMask:
    causal, itself = np.tri(stride, dtype=bool), np.eye(stride, dtype=bool)
    return BlockMask(
        within=itself if column_alone else causal,
        # `stride` positions in total with the own block
        before=np.zeros_like(causal) if column_alone else ~causal,
        earlier=itself,
    )


def _prefill(cache: StridedCache, q, k, v, *, mask_of: Callable[[int], BlockMask]):
    """Processes a stretch of tokens; the blocks that hold it attend to themselves and to earlier blocks."""
    check_qkv(q, k, v)
    batch, stretch, heads, head_dim = q.shape
    blocks, stride = cache.key.shape[2:4]
    first_block, offset = cache.index // stride, cache.index % stride
    mask = mask_of(stride)
    key, value = blocks_update(cache.key, k, cache.index), blocks_update(cache.value, v, cache.index)

    room = jnp.zeros((batch, stride - 1 + stretch, heads, head_dim), q.dtype)
    queries = cut(jax.lax.dynamic_update_slice_in_dim(room, q, offset, axis=1), stride)
    touched = queries.shape[2]

    def blocks_from(x, first):
        """`touched` blocks of x, from block `first` >= -1 on; zeros beyond the ends."""
        x = jnp.pad(x, ((0, 0), (0, 0), (1, touched), (0, 0), (0, 0)))
        return jax.lax.dynamic_slice_in_dim(x, first + 1, touched, axis=2)

    def block_segment(first, mask):
        return Segment('block', blocks_from(key, first), blocks_from(value, first), mask)

    number = first_block + jnp.arange(touched)[:, None, None]
    column = (x.swapaxes(2, 3) for x in (key, value))
    out = segment_attention(
        queries,
        [
            block_segment(first_block, mask.within),
            block_segment(first_block - 1, mask.before & (number > 0)),
            Segment('offset', *column, jnp.arange(blocks) < number),
        ],
    )
    out = jax.lax.dynamic_slice_in_dim(join(out), offset, stretch, axis=1)
    return StridedCache(key, value, cache.index + stretch), out


def _step(cache: StridedCache, q, k, v, *, mask_of: Callable[[int], BlockMask]):
    """Processes one token, whose query sees parts of two blocks and one offset of all earlier blocks."""
    blocks, stride = cache.key.shape[2:4]
    block, offset = cache.index // stride, cache.index % stride
    key, value = token_update(cache.key, k, cache.index), token_update(cache.value, v, cache.index)

    def in_reach(x):
        own = jax.lax.dynamic_index_in_dim(x, block, 2, keepdims=False)
        before = jax.lax.dynamic_index_in_dim(x, jnp.maximum(block - 1, 0), 2, keepdims=False)
        column = jax.lax.dynamic_index_in_dim(x, offset, 3, keepdims=False)
        return jnp.concatenate([own, before, column], axis=2)

    mask = mask_of(stride)
    within, before = jnp.asarray(mask.within)[offset], jnp.asarray(mask.before)[offset]
    seen = jnp.concatenate([within, before & (block > 0), jnp.arange(blocks) < block])
    out = masked_attention(q[:, None], in_reach(key), in_reach(value), seen[None])
    return StridedCache(key, value, cache.index + 1), out[:, 0]
