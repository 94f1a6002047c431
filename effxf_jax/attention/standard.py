"""Softmax attention to every earlier position."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.layout import check_qkv, heads_major, heads_major_update
from effxf_jax.attention.kernels.softmax import masked_attention
from effxf_jax.attention.kernels.tiled import causal_attention
from effxf_jax.attention.mechanism import Cost, Mechanism, Memory, cost_of_pairs, keys_and_values


class KeyValueCache(NamedTuple):
    """The keys and values of the tokens seen.

    Attributes:
        key, value: `[batch, heads, length, head_dim]`, so that each head's keys are contiguous; slots from
            `index` on are empty.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    index: jax.Array


def standard() -> Mechanism:
    """Causal softmax attention, `out_t = sum_{s<=t} softmax_s(q_t k_s / sqrt(d)) v_s`.

    Time is quadratic in the length (Vaswani et al. 2017, equation 1), memory is linear; the cache holds
    `length` keys and values. On a GPU, cuDNN's kernel processes 16-bit inputs.
    """
    return Mechanism(
        attend=attend,
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=memory,
        state_size=keys_and_values(memory),
        complexity='L²D',
        at_length=lambda max_length: standard(),
    )


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    check_qkv(q, k, v)
    if _has_cudnn_kernel(q):
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation='cudnn')
    return heads_major(causal_attention(*(heads_major(x) for x in (q, k, v))))


def _has_cudnn_kernel(q) -> bool:
    """Whether cuDNN's attention applies: on a GPU, in 16 bits, with a head_dim of 8, 16, ... 128."""
    head_dim = q.shape[3]
    is_16_bit = q.dtype in (jnp.bfloat16, jnp.float16)
    return jax.default_backend() == 'gpu' and is_16_bit and head_dim % 8 == 0 and head_dim <= 128


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
    return cost_of_pairs(length * (length + 1) // 2, length, heads, head_dim)


def memory(length: int) -> Memory:
    return Memory('every earlier position', length)
