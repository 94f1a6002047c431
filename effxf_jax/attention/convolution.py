"""A short causal convolution of queries, keys and values, before any mechanism."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.mechanism import QKV, Cost, Mechanism, Parameter


class ConvolvedCache(NamedTuple):
    """What decoding keeps.

    Attributes:
        mechanism: the mechanism's own cache.
        recent: `[batch, heads, size - 1, 3, head_dim]`, the last queries, keys and values before the
            convolution, the latest last; zeros before the first token.
    """

    mechanism: Any
    recent: jax.Array


def convolved(mechanism: Mechanism, size: int) -> Mechanism:
    """A mechanism whose queries, keys and values each are a weighted sum of the last `size` ones.

    Every feature of every head has weights of its own, learned, which begin uniform within 1 / sqrt(size), as
    torch's depthwise convolutions do. This is the convolution of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060,
    section 7), without its activation. The last `size - 1` positions join the memory; a state has 3 numbers
    more for each of their features. The cache shows `probe` no matrices.

    Raises:
        ValueError: the size is below 1, or the mechanism's first projection is not QKV.
    """
    if size < 1:
        raise ValueError(f'the size of a convolution must be at least 1; got {size}')
    if mechanism.projections[0] != QKV:
        raise ValueError('a convolution requires a mechanism whose first projection is that of q, k and v')
    taps = Parameter('convolution', lambda heads, head_dim: (size, 3, heads, head_dim), _uniform)

    def split(inputs):
        *inputs, weights = inputs
        return jnp.stack(inputs[:3], axis=-2), inputs[3:], weights

    def run(recent, qkv, weights):
        """Convolves `[batch, length, heads, 3, head_dim]` behind `recent`; and what is recent afterwards."""
        seen = jnp.concatenate([recent.swapaxes(1, 2).astype(qkv.dtype), qkv], axis=1)
        length = qkv.shape[1]
        weights = weights.swapaxes(1, 2).astype(jnp.float32)
        out = sum(weights[i] * seen[:, size - 1 - i : size - 1 - i + length] for i in range(size))
        parts = jnp.unstack(out.astype(qkv.dtype), axis=-2)
        return parts, seen[:, length:].swapaxes(1, 2).astype(recent.dtype)

    def empty(batch, heads, head_dim, dtype):
        return jnp.zeros((batch, heads, size - 1, 3, head_dim), dtype)

    def attend(*inputs):
        qkv, others, weights = split(inputs)
        batch, _, heads, _, head_dim = qkv.shape
        parts, _ = run(empty(batch, heads, head_dim, qkv.dtype), qkv, weights)
        return mechanism.attend(*parts, *others)

    def init_cache(batch, length, heads, head_dim, dtype):
        own = mechanism.init_cache(batch, length, heads, head_dim, dtype)
        return ConvolvedCache(own, empty(batch, heads, head_dim, dtype))

    def prefill(cache, *inputs):
        qkv, others, weights = split(inputs)
        parts, recent = run(cache.recent, qkv, weights)
        own, out = mechanism.prefill(cache.mechanism, *parts, *others)
        return ConvolvedCache(own, recent), out

    def step(cache, *inputs):
        qkv, others, weights = split(inputs)
        parts, recent = run(cache.recent, qkv[:, None], weights)
        own, out = mechanism.step(cache.mechanism, *(x[:, 0] for x in parts), *others)
        return ConvolvedCache(own, recent), out

    def cost(length, heads, head_dim):
        own = mechanism.cost(length, heads, head_dim)
        taps = 3 * size * heads * head_dim
        return Cost(own.macs + taps * length, own.bytes + 4 * taps)

    def memory(length):
        own = mechanism.memory(length)
        seen = own.positions and min(length, own.positions + size - 1)
        if size == 1 or seen == own.positions == length:
            return own
        return own._replace(name=f'{own.name} and the last {size - 1} positions', positions=seen)

    def state_size(length, heads, head_dim):
        return mechanism.state_size(length, heads, head_dim) + 3 * min(length, size - 1) * heads * head_dim

    return mechanism._replace(
        attend=attend,
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=memory,
        state_size=state_size,
        at_length=lambda max_length: convolved(mechanism.at_length(max_length), size),
        parameters=(*mechanism.parameters, taps),
        matrices=(),
    )


def _uniform(key, shape, dtype):
    bound = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
