"""A short causal convolution of the inputs of any mechanism, such as queries, keys and values."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.mechanism import Cost, Mechanism, Parameter


class ConvolvedCache(NamedTuple):
    """What decoding keeps.

    Attributes:
        mechanism: the mechanism's own cache.
        recent: `[batch, heads, size - 1, count, head_dim]`, the last inputs before the convolution, such as
            queries, keys and values, the latest last; zeros before the first token.
    """

    mechanism: Any
    recent: jax.Array


def convolved(mechanism: Mechanism, size: int) -> Mechanism:
    """A mechanism whose inputs of head_dim features each are a weighted sum of the last `size` ones.

    These are queries, keys and values, or what a mechanism has in their place. Every feature of every head
    has weights of its own, learned, which begin uniform within 1 / sqrt(size), as torch's depthwise
    convolutions do. This is the convolution of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, section 7),
    without its activation. The last `size - 1` positions join the memory; a state has a number more for each
    of these features. The cache shows `probe` no matrices.

    Raises:
        ValueError: the size is below 1, or such inputs do not come first.
    """
    if size < 1:
        raise ValueError(f'the size of a convolution must be at least 1; got {size}')
    wide = list(itertools.takewhile(lambda projection: projection.size is None, mechanism.projections))
    if not wide or any(projection.size is None for projection in mechanism.projections[len(wide) :]):
        raise ValueError('a convolution requires a mechanism whose inputs of head_dim features come first')
    count = sum(projection.count for projection in wide)
    taps = Parameter('convolution', lambda heads, head_dim: (size, count, heads, head_dim), _uniform)

    def split(inputs):
        *inputs, weights = inputs
        return jnp.stack(inputs[:count], axis=-2), inputs[count:], weights

    def run(recent, x, weights):
        """Convolves `[batch, length, heads, count, head_dim]` behind `recent`; and what is recent then."""
        seen = jnp.concatenate([recent.swapaxes(1, 2).astype(x.dtype), x], axis=1)
        length = x.shape[1]
        weights = weights.swapaxes(1, 2).astype(jnp.float32)
        out = sum(weights[i] * seen[:, size - 1 - i : size - 1 - i + length] for i in range(size))
        parts = jnp.unstack(out.astype(x.dtype), axis=-2)
        return parts, seen[:, length:].swapaxes(1, 2).astype(recent.dtype)

    def empty(batch, heads, head_dim, dtype):
        return jnp.zeros((batch, heads, size - 1, count, head_dim), dtype)

    def attend(*inputs):
        x, others, weights = split(inputs)
        batch, _, heads, _, head_dim = x.shape
        parts, _ = run(empty(batch, heads, head_dim, x.dtype), x, weights)
        return mechanism.attend(*parts, *others)

    def init_cache(batch, length, heads, head_dim, dtype):
        own = mechanism.init_cache(batch, length, heads, head_dim, dtype)
        return ConvolvedCache(own, empty(batch, heads, head_dim, dtype))

    def prefill(cache, *inputs):
        x, others, weights = split(inputs)
        parts, recent = run(cache.recent, x, weights)
        own, out = mechanism.prefill(cache.mechanism, *parts, *others)
        return ConvolvedCache(own, recent), out

    def step(cache, *inputs):
        x, others, weights = split(inputs)
        parts, recent = run(cache.recent, x[:, None], weights)
        own, out = mechanism.step(cache.mechanism, *(x[:, 0] for x in parts), *others)
        return ConvolvedCache(own, recent), out

    def cost(length, heads, head_dim):
        own = mechanism.cost(length, heads, head_dim)
        taps = count * size * heads * head_dim
        return Cost(own.macs + taps * length, own.bytes + 4 * taps)

    def memory(length):
        own = mechanism.memory(length)
        seen = own.positions and min(length, own.positions + size - 1)
        if size == 1 or seen == own.positions == length:
            return own
        return own._replace(name=f'{own.name} and the last {size - 1} positions', positions=seen)

    def state_size(length, heads, head_dim):
        return (
            mechanism.state_size(length, heads, head_dim) + count * min(length, size - 1) * heads * head_dim
        )

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
