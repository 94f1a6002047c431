"""Two mechanisms in one layer, each with half of the heads."""

from typing import NamedTuple

import jax.numpy as jnp

from effxf_jax.attention.kernels.layout import check_qkv
from effxf_jax.attention.mechanism import Cache, Cost, Mechanism


class CacheByHeads(NamedTuple):
    """The caches of the first and of the other heads; each has its own heads on its second axis."""

    first: Cache
    others: Cache


def by_heads(first: Mechanism, others: Mechanism, merged: Mechanism) -> Mechanism:
    """Half of the heads, rounded up, with one mechanism and the other heads with another.

    Args:
        first, others: mechanisms of queries, keys and values.
        merged: the mechanism whose every head attends to the positions of both; its `memory`, its order of
            cost, its blocks and its span are those of the result.

    Raises:
        ValueError: a model with a single head, when attention is called.
    """

    def halves(heads: int) -> tuple[int, int]:
        if heads < 2:
            raise ValueError(f'separate heads require at least 2 heads; got {heads}')
        return heads - heads // 2, heads // 2

    def split(x):
        count, _ = halves(x.shape[-2])
        return x[..., :count, :], x[..., count:, :]

    def attend(*inputs):
        check_qkv(*inputs)
        of_first, of_others = zip(*map(split, inputs), strict=True)
        return jnp.concatenate([first.attend(*of_first), others.attend(*of_others)], axis=-2)

    def init_cache(batch, length, heads, head_dim, dtype):
        parts = zip((first, others), halves(heads), strict=True)
        return CacheByHeads(*(m.init_cache(batch, length, count, head_dim, dtype) for m, count in parts))

    def advance(method: str, cache: CacheByHeads, *inputs):
        of_heads = zip(*map(split, inputs), strict=True)
        parts = zip((first, others), cache, of_heads, strict=True)
        caches, outs = zip(*(getattr(m, method)(c, *x) for m, c, x in parts), strict=True)
        return CacheByHeads(*caches), jnp.concatenate(outs, axis=-2)

    def cost(length, heads, head_dim):
        parts = zip((first, others), halves(heads), strict=True)
        return Cost(*map(sum, zip(*(m.cost(length, count, head_dim) for m, count in parts), strict=True)))

    def state_size(length, heads, head_dim):
        parts = zip((first, others), halves(heads), strict=True)
        return sum(m.state_size(length, count, head_dim) for m, count in parts)

    return merged._replace(
        attend=attend,
        init_cache=init_cache,
        step=lambda cache, *inputs: advance('step', cache, *inputs),
        prefill=lambda cache, *inputs: advance('prefill', cache, *inputs),
        cost=cost,
        state_size=state_size,
        at_length=lambda length: by_heads(*(m.at_length(length) for m in (first, others, merged))),
    )
