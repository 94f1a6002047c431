"""Block-sparse attention whose blocks the content chooses, query by query."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.block_masked import capped_sum, default_block_size, kept_pairs
from effxf_jax.attention.kernels import grouping, partial
from effxf_jax.attention.kernels.layout import blocks_update, check_qkv, cut, join, token_update
from effxf_jax.attention.kernels.softmax import contract
from effxf_jax.attention.mechanism import Cost, Mechanism, cost_of_pairs, keys_and_values
from effxf_jax.attention.standard import memory


class BlockCache(NamedTuple):
    """The keys and values of all tokens seen, in blocks.

    Attributes:
        key, value: `[batch, heads, blocks, block_size, head_dim]`; slots from position `index` on are empty.
        mean: float32 `[batch, heads, blocks, head_dim]`, the mean key of a complete block; of the others, the
            sum of their keys over block_size.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    mean: jax.Array
    index: jax.Array


def block_routing(block_size: int | None = None, blocks_kept: int = 2) -> Mechanism:
    """Softmax attention to the own block, and to the earlier blocks whose mean keys score highest.

    This is the rule of Mixture of Block Attention (Lu et al. 2025, arXiv 2502.13189, section 2.2): a query of
    block c attends causally to its own block, and to all keys of the `blocks_kept` blocks b < c with the
    largest products of the query and b's mean key; of equal ones the earlier block wins. Every query and
    every head chooses for itself. No gradient flows through the choice.

    Time is O(L (kB + L / B) D): queries that chose the same block are grouped, and a group is one product.
    The cache holds all keys and values, and the means.

    Args:
        block_size: positions in a block; None means the largest power of two <= sqrt(L), where L is the
            length given to `at_length` or, without it, the length of the call.
        blocks_kept: how many earlier blocks a query sees; all while there are fewer.

    Raises:
        ValueError: a number below 1.
    """
    for name, value in ('block_size', block_size), ('blocks_kept', blocks_kept):
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1; got {value}')

    def size_for(length: int) -> int:
        return block_size or default_block_size(length)

    def init_cache(batch, length, heads, head_dim, dtype):
        size = size_for(length)
        blocks = -(-length // size)
        empty = jnp.zeros((batch, heads, blocks, size, head_dim), dtype)
        return BlockCache(empty, empty, jnp.zeros((batch, heads, blocks, head_dim)), jnp.int32(0))

    def attend(q, k, v):
        check_qkv(q, k, v)
        query, key, value = (cut(x, size_for(q.shape[1])) for x in (q, k, v))
        number = jnp.arange(query.shape[2])
        out = _route(query, number, key, value, key, value, _means(key), blocks_kept)
        return join(out)[:, : q.shape[1]].astype(q.dtype)

    def cost(length, heads, head_dim):
        size = size_for(length)
        blocks, rest = divmod(length, size)
        own = kept_pairs(length, size, before=False, earlier=0)
        kept = capped_sum(blocks, blocks_kept) * size + min(blocks, blocks_kept) * rest
        softmax = cost_of_pairs(own + kept * size, length, heads, head_dim)
        scored = blocks * (blocks - 1) // 2 * size + blocks * rest  # pairs of a query and an earlier block
        return Cost(softmax.macs + scored * heads * head_dim, softmax.bytes)

    return Mechanism(
        attend=attend,
        init_cache=init_cache,
        step=functools.partial(_step, blocks_kept=blocks_kept),
        prefill=functools.partial(_prefill, blocks_kept=blocks_kept),
        cost=cost,
        memory=memory,
        state_size=keys_and_values(memory),
        complexity='L(kB + L/B)D',
        at_length=lambda max_length: block_routing(size_for(max_length), blocks_kept),
        span='block_size',
    )


def _means(key: jax.Array) -> jax.Array:
    return key.astype(jnp.float32).mean(axis=3)


def _chosen(query: jax.Array, mean: jax.Array, number: jax.Array, blocks_kept: int) -> jax.Array:
    """The earlier blocks that queries see, int32 `[..., queries, kept]`, or -1 where there are fewer.

    Args:
        query: `[..., queries, head_dim]`.
        mean: `[..., blocks, head_dim]`.
        number: int `[queries]`, the block of each query.
        blocks_kept: how many to choose.
    """
    scores = contract('...qd,...nd->...qn', query, mean)
    is_earlier = jnp.arange(mean.shape[-2]) < number[:, None]
    top, block = jax.lax.top_k(jnp.where(is_earlier, scores, -jnp.inf), min(blocks_kept, mean.shape[-2]))
    return jnp.where(jnp.isfinite(top), block, -1)


def _route(query, number, own_key, own_value, key, value, mean, blocks_kept) -> jax.Array:
    """Attention of whole blocks of queries.

    Args:
        query: `[batch, heads, m, block_size, head_dim]`.
        number: int `[m]`, which block each is.
        own_key, own_value: the same blocks of keys and values, in the layout of `query`.
        key, value: all blocks, `[batch, heads, blocks, block_size, head_dim]`.
        mean: their mean keys, `[batch, heads, blocks, head_dim]`.
        blocks_kept: how many earlier blocks a query sees.

    Returns:
        float32, in the layout of `query`.
    """
    size, head_dim = query.shape[3:]
    own = partial.attend(query, own_key, own_value, jnp.tri(size, dtype=bool))
    if key.shape[2] == 1:
        return partial.merge([own])
    queries = query.reshape(*query.shape[:2], -1, head_dim)
    chosen = _chosen(queries, mean, jnp.repeat(number, size), blocks_kept)

    @jax.vmap
    @jax.vmap
    def others(queries, chosen, key, value):
        groups = grouping.group(chosen, key.shape[0], size)
        grouped = grouping.to_groups(queries, groups).reshape(-1, size, head_dim)
        part = partial.attend(grouped, *(grouping.spread(x, groups.bucket_of) for x in (key, value)))
        part = jax.tree.map(lambda x: grouping.to_rows(x.reshape(-1, *x.shape[2:]), groups), part)
        return part._replace(top=jnp.where(chosen.T >= 0, part.top, -jnp.inf))

    own = jax.tree.map(lambda x: x.reshape(*x.shape[:2], -1, *x.shape[4:]), own)
    copies = others(queries, chosen, key, value)
    parts = [jax.tree.map(lambda x, at=at: x[:, :, at], copies) for at in range(chosen.shape[-1])]
    return partial.merge([own, *parts]).reshape(query.shape)


def _prefill(cache: BlockCache, q, k, v, *, blocks_kept: int):
    """Processes a stretch of tokens: the blocks that hold it attend to themselves and to earlier blocks."""
    check_qkv(q, k, v)
    batch, stretch, heads, head_dim = q.shape
    blocks, size = cache.key.shape[2:4]
    first, offset = cache.index // size, cache.index % size
    key, value = (blocks_update(x, new, cache.index) for x, new in ((cache.key, k), (cache.value, v)))
    mean = _means(key)

    room = jnp.zeros((batch, size - 1 + stretch, heads, head_dim), q.dtype)
    queries = cut(jax.lax.dynamic_update_slice_in_dim(room, q, offset, axis=1), size)
    number = first + jnp.arange(queries.shape[2])
    # Blocks behind the last one hold no query of the stretch.
    own_key, own_value = (x[:, :, jnp.minimum(number, blocks - 1)] for x in (key, value))
    out = join(_route(queries, number, own_key, own_value, key, value, mean, blocks_kept))
    out = jax.lax.dynamic_slice_in_dim(out, offset, stretch, axis=1)
    return BlockCache(key, value, mean, cache.index + stretch), out.astype(q.dtype)


def _step(cache: BlockCache, q, k, v, *, blocks_kept: int):
    """Processes one token, whose query sees its own block and the blocks that it chooses."""
    size = cache.key.shape[3]
    own, offset = cache.index // size, cache.index % size
    key, value = token_update(cache.key, k, cache.index), token_update(cache.value, v, cache.index)
    at_own = lambda x: jax.lax.dynamic_slice_in_dim(x, own, 1, axis=2)
    # Not computed from the updated block: XLA would copy the cache.
    mean = cache.mean.at[:, :, own].add(k.astype(key.dtype).astype(jnp.float32) / size)
    query = q[:, :, None]
    chosen = _chosen(query, mean, own[None], blocks_kept)
    parts = [partial.attend(query, at_own(key)[:, :, 0], at_own(value)[:, :, 0], jnp.arange(size) <= offset)]
    for block in jnp.moveaxis(chosen[:, :, 0], -1, 0):
        index = jnp.maximum(block, 0)[..., None, None, None]
        of_block = [jnp.take_along_axis(x, index, axis=2)[:, :, 0] for x in (key, value)]
        parts.append(partial.attend(query, *of_block, (block >= 0)[..., None, None]))
    out = partial.merge(parts)
    return BlockCache(key, value, mean, cache.index + 1), out[:, :, 0].astype(q.dtype)
