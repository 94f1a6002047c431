"""The pattern 'fixed' of `sparse`: a query sees its own block and a summary of every earlier block.

Where heads are separate, some see the own block alone, the others the summaries alone: the pattern's parts.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention import block_masked
from effxf_jax.attention.block_masked import default_block_size, kept_pairs
from effxf_jax.attention.kernels.block_sparse import BlockMask, segments
from effxf_jax.attention.kernels.layout import check_qkv, cut, heads_major_update, join
from effxf_jax.attention.kernels.softmax import Segment, masked_attention, segment_attention
from effxf_jax.attention.mechanism import Mechanism, Memory


class FixedCache(NamedTuple):
    """The keys and values of the current block, and those of the summaries of all earlier blocks.

    Attributes:
        key, value: `[batch, heads, block_size, head_dim]`, zero at positions that are not filled yet.
        summary_key, summary_value: `[batch, heads, (blocks - 1) * summary_size, head_dim]`; a block's summary
            is written when the block is complete.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    summary_key: jax.Array
    summary_value: jax.Array
    index: jax.Array


PARTS = ('union', 'block', 'summaries')


def fixed(block_size: int | None, summary_size: int, part: str = 'union') -> Mechanism:
    """`sparse(block_size, summary_size)`, or one of the PARTS of its pattern.

    'block': a query sees its own block, causally. 'summaries': it sees itself and the summaries of earlier
    blocks and, causally, of its own block.
    """
    kept = 0 if part == 'block' else summary_size  # of every earlier block

    def size_for(length: int) -> int:
        return block_size or max(default_block_size(length), summary_size)

    def init_cache(batch, length, heads, head_dim, dtype):
        size = size_for(length)
        block = jnp.zeros((batch, heads, size, head_dim), dtype)
        blocks = -(-length // size)
        summary = jnp.zeros((batch, heads, (blocks - 1) * kept, head_dim), dtype)
        return FixedCache(block, block, summary, summary, jnp.int32(0))

    def memory(length: int) -> Memory:
        size = size_for(length)
        earlier, current = divmod(length, size)
        if part == 'block':
            return Memory('the current block', current)
        if part == 'summaries':
            in_summary = max(current - (size - summary_size), 0)
            return Memory('the summaries', earlier * summary_size + in_summary)
        name = 'the summaries and the current block' if current else 'the summaries, at a block boundary'
        return Memory(name, earlier * summary_size + current)

    mask_of = functools.partial(fixed_mask, summary_size=summary_size, part=part)
    within = summary_size if part == 'summaries' else None
    return block_masked.mechanism(
        mask_for=lambda length: mask_of(size_for(length)),
        pairs=lambda length: kept_pairs(length, size_for(length), before=False, earlier=kept, within=within),
        at_length=lambda max_length: fixed(size_for(max_length), summary_size, part),
        init_cache=init_cache,
        step=functools.partial(_step, mask_of=mask_of, summary_size=summary_size),
        prefill=functools.partial(_prefill, mask_of=mask_of, summary_size=summary_size),
        memory=memory,
        complexity='L(B + cL/B)D',
        span='block_size',
        block_size=block_size,
    )


def fixed_mask(block_size: int, summary_size: int, part: str = 'union') -> BlockMask:
    in_summary = np.tile(np.arange(block_size) >= block_size - summary_size, (block_size, 1))
    causal, itself = np.tri(block_size, dtype=bool), np.eye(block_size, dtype=bool)
    return BlockMask(
        within=causal & (in_summary | itself) if part == 'summaries' else causal,
        before=np.zeros((block_size, block_size), bool),
        earlier=np.zeros_like(in_summary) if part == 'block' else in_summary,
    )


def _prefill(cache: FixedCache, q, k, v, *, mask_of: Callable[[int], BlockMask], summary_size: int):
    """Processes a stretch of tokens, appended to the current block so that they form whole blocks."""
    check_qkv(q, k, v)
    batch, stretch, heads, head_dim = q.shape
    block_size, slots = cache.key.shape[2], cache.summary_key.shape[2]
    first_block, offset = cache.index // block_size, cache.index % block_size

    def lay_out(current, x):
        room = jnp.pad(current.swapaxes(1, 2), ((0, 0), (0, stretch), (0, 0), (0, 0)))
        room = jax.lax.dynamic_update_slice_in_dim(room, x.astype(room.dtype), offset, axis=1)
        return cut(room, block_size)

    key, value = lay_out(cache.key, k), lay_out(cache.value, v)
    parts = segments(key, value, mask_of(block_size))
    if slots:
        present = jnp.arange(slots) < first_block * summary_size
        parts.append(Segment('all', cache.summary_key, cache.summary_value, present[None]))
    out = join(segment_attention(lay_out(jnp.zeros_like(cache.key, q.dtype), q), parts))
    out = jax.lax.dynamic_slice_in_dim(out, offset, stretch, axis=1)

    index = cache.index + stretch
    last_block = jnp.minimum(index // block_size - first_block, key.shape[2] - 1)
    filled = (jnp.arange(block_size) < index % block_size)[:, None]

    def current_block(x):
        return jnp.where(filled, jax.lax.dynamic_index_in_dim(x, last_block, 2, keepdims=False), 0)

    def extended(summary, x):
        if not slots:
            return summary
        new = x[:, :, :, block_size - summary_size :].reshape(batch, heads, -1, head_dim)
        room = jnp.concatenate([summary, jnp.zeros_like(new)], axis=2)
        room = jax.lax.dynamic_update_slice_in_dim(room, new, first_block * summary_size, axis=2)
        complete = jnp.arange(slots) < index // block_size * summary_size
        return jnp.where(complete[:, None], room[:, :, :slots], 0)

    return FixedCache(
        current_block(key),
        current_block(value),
        extended(cache.summary_key, key),
        extended(cache.summary_value, value),
        index,
    ), out


def _step(cache: FixedCache, q, k, v, *, mask_of: Callable[[int], BlockMask], summary_size: int):
    """Processes one token, whose query sees the current block and the summaries."""
    block_size, slots = cache.key.shape[2], cache.summary_key.shape[2]
    block, offset = cache.index // block_size, cache.index % block_size
    key = heads_major_update(cache.key, k[:, None], offset)
    value = heads_major_update(cache.value, v[:, None], offset)
    within = jnp.asarray(mask_of(block_size).within)[offset]
    seen = jnp.concatenate([within, jnp.arange(slots) < block * summary_size])
    out = masked_attention(
        q[:, None],
        jnp.concatenate([key, cache.summary_key], axis=2),
        jnp.concatenate([value, cache.summary_value], axis=2),
        seen[None],
    )

    is_full = offset == block_size - 1

    def extended(summary, x):
        if not slots:
            return summary
        at = jnp.minimum(block * summary_size, slots - summary_size)
        there = jax.lax.dynamic_slice_in_dim(summary, at, summary_size, axis=2)
        new = jnp.where(is_full & (block * summary_size < slots), x[:, :, block_size - summary_size :], there)
        return jax.lax.dynamic_update_slice_in_dim(summary, new, at, axis=2)

    return FixedCache(
        jnp.where(is_full, 0, key),
        jnp.where(is_full, 0, value),
        extended(cache.summary_key, key),
        extended(cache.summary_value, value),
        cache.index + 1,
    ), out[:, 0]
