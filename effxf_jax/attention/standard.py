"""Softmax attention over every earlier position."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.mechanism import Cost, Mechanism, check_qkv


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens seen.

    Attributes:
        key, value: `[batch, heads, length, head_dim]`, so that each head's keys lie together; slots at
            `index` and beyond are empty.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    index: jax.Array


def standard() -> Mechanism:
    """Causal softmax attention, `out_t = sum_{s<=t} softmax_s(q_t k_s / sqrt(d)) v_s`.

    Time and attention weights are quadratic in the length (Vaswani et al. 2017, equation 1); the cache
    holds `length` keys and values.
    """
    return Mechanism(
        name='standard',
        attend=attend,
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        state_size=lambda length, heads, head_dim: 2 * length * heads * head_dim,
        at_length=lambda max_length: standard(),
    )


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    check_qkv(q, k, v)
    causal = jnp.tri(q.shape[1], dtype=bool)
    return masked_attention(q, k.swapaxes(1, 2), v.swapaxes(1, 2), causal)


def init_cache(batch: int, length: int, heads: int, head_dim: int, dtype) -> KeyValueCache:
    empty = jnp.zeros((batch, heads, length, head_dim), dtype)
    return KeyValueCache(empty, empty, jnp.int32(0))


def prefill(cache, q, k, v):
    check_qkv(q, k, v)
    start, stretch = cache.index, q.shape[1]
    cache = KeyValueCache(
        heads_major_update(cache.key, k, start), heads_major_update(cache.value, v, start), start + stretch
    )
    seen = jnp.arange(cache.key.shape[2]) <= start + jnp.arange(stretch)[:, None]
    return cache, masked_attention(q, cache.key, cache.value, seen)


def step(cache, q, k, v):
    cache, out = prefill(cache, q[:, None], k[:, None], v[:, None])
    return cache, out[:, 0]


def cost(length: int, heads: int, head_dim: int) -> Cost:
    # Each of the t(t+1)/2 causal pairs: one dot product for the score, one scaled sum of values.
    pairs = length * (length + 1) // 2
    numbers = 4 * length * heads * head_dim + pairs * heads
    return Cost(macs=2 * pairs * heads * head_dim, bytes=4 * numbers)


def masked_attention(q, k, v, mask):
    """Softmax attention where a mask allows it; scores and weights in float32.

    Args:
        q: `[batch, queries, heads, head_dim]`.
        k, v: `[batch, heads, keys, head_dim]`.
        mask: bool `[queries, keys]`; every query must keep a key.

    Returns:
        `[batch, queries, heads, head_dim]`, in q's dtype.
    """
    q = q * q.shape[-1] ** -0.5
    scores = jnp.einsum('bqhd,bhkd->bhqk', q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.einsum('bhqk,bhkd->bqhd', weights.astype(v.dtype), v).astype(q.dtype)


def heads_major_update(cached, stretch, start):
    """Writes a stretch `[batch, length, heads, head_dim]` into `[batch, heads, slots, head_dim]`."""
    stretch = stretch.swapaxes(1, 2).astype(cached.dtype)
    return jax.lax.dynamic_update_slice_in_dim(cached, stretch, start, axis=2)
