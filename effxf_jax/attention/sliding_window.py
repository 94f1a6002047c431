"""Softmax attention over a window of the last positions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention import block_masked
from effxf_jax.attention.block_masked import default_block_size, kept_pairs
from effxf_jax.attention.kernels.block_sparse import BlockMask
from effxf_jax.attention.kernels.layout import check_qkv, cut, heads_major, heads_major_update, join
from effxf_jax.attention.kernels.softmax import Segment, masked_attention, segment_attention
from effxf_jax.attention.mechanism import Mechanism, Memory


class RingCache(NamedTuple):
    """The keys and values of the last `window` tokens.

    Attributes:
        key, value: `[batch, heads, window, head_dim]`; position t is in slot t modulo window.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    index: jax.Array


def sliding_window(window: int | None = None) -> Mechanism:
    """Softmax attention of every position to the last `window` positions, itself included.

    Time is O(L * window); the cache does not grow with L. This is the causal half of the window of Beltagy et
    al. (2020, section 3.1).

    Args:
        window: how many positions a query sees; None means the largest power of two <= sqrt(L), where L is
            the length given to `at_length` or, without it, the length of the call.

    Raises:
        ValueError: window < 1.
    """
    if window is not None and window < 1:
        raise ValueError(f'window must be at least 1; got {window}')

    def window_for(length: int) -> int:
        return window or default_block_size(length)

    def init_cache(batch, length, heads, head_dim, dtype):
        empty = jnp.zeros((batch, heads, window_for(length), head_dim), dtype)
        return RingCache(empty, empty, jnp.int32(0))

    return block_masked.mechanism(
        mask_for=lambda length: window_mask(window_for(length)),
        pairs=lambda length: kept_pairs(length, window_for(length), before=True, earlier=0),
        at_length=lambda max_length: sliding_window(window_for(max_length)),
        init_cache=init_cache,
        step=_step,
        prefill=_prefill,
        memory=lambda length: Memory('the window', min(window_for(length) - 1, length)),
        complexity='LWD',
        span='window',
    )


def window_mask(window: int) -> BlockMask:
    return BlockMask(
        within=np.tri(window, dtype=bool),
        before=~np.tri(window, dtype=bool),
        earlier=np.zeros((window, window), bool),
    )


def _prefill(cache: RingCache, q, k, v):
    """Processes a stretch of tokens; the ring, put in order, is the block before their first block."""
    check_qkv(q, k, v)
    stretch, window = q.shape[1], cache.key.shape[2]
    mask = window_mask(window)

    def in_order(ring):
        return jnp.roll(ring, -cache.index, axis=2)[:, :, None]

    key, value = cut(k.astype(cache.key.dtype), window), cut(v.astype(cache.value.dtype), window)
    one_later = lambda ring, x: jnp.concatenate([in_order(ring), x[:, :, :-1]], axis=2)
    is_first = np.arange(key.shape[2])[:, None, None] == 0
    filled = jnp.arange(window) >= window - cache.index
    out = segment_attention(
        cut(q, window),
        [
            Segment('block', key, value, mask.within),
            Segment(
                'block',
                one_later(cache.key, key),
                one_later(cache.value, value),
                mask.before & (~is_first | filled),
            ),
        ],
    )

    index = cache.index + stretch

    def updated(ring, x):
        seen = jnp.concatenate([in_order(ring)[:, :, 0], heads_major(x).astype(ring.dtype)], axis=2)
        return jnp.roll(seen[:, :, stretch:], index, axis=2)

    return RingCache(updated(cache.key, k), updated(cache.value, v), index), join(out)[:, :stretch]


def _step(cache: RingCache, q, k, v):
    """Processes one token, which replaces the oldest token in the cache."""
    window = cache.key.shape[2]
    place = cache.index % window
    key = heads_major_update(cache.key, k[:, None], place)
    value = heads_major_update(cache.value, v[:, None], place)
    seen = jnp.arange(window) <= cache.index
    return RingCache(key, value, cache.index + 1), masked_attention(q[:, None], key, value, seen[None])[:, 0]
