"""Attention within buckets of a locality-sensitive hash."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.block_masked import capped_sum, default_block_size
from effxf_jax.attention.kernels import grouping, partial
from effxf_jax.attention.kernels.layout import check_qkv, heads_major, heads_major_update
from effxf_jax.attention.kernels.softmax import contract
from effxf_jax.attention.mechanism import Cost, Mechanism, Memory, Projection, keys_and_values

_SHARED = Projection('qk')  # one input is both the query and, at norm 1, the key
_VALUE = Projection('value')
_EPSILON = 1e-6  # added to the square of a key's norm


class HashCache(NamedTuple):
    """The inputs of all tokens seen, and their buckets.

    Attributes:
        shared, value: `[batch, heads, length, head_dim]`; slots from position `index` on are empty.
        bucket: int32 `[batch, heads, hashes, length]`, 1 + the bucket; 0 where a slot is empty.
        index: int32 scalar, the number of tokens seen.
    """

    shared: jax.Array
    value: jax.Array
    bucket: jax.Array
    index: jax.Array


def lsh(
    num_hashes: int = 2,
    bucket_size: int | None = None,
    num_buckets: int | None = None,
    hash_seed: int = 0,
) -> Mechanism:
    """Softmax attention among positions that a hash puts into one bucket (Reformer: Kitaev et al. 2020).

    Queries and keys are one projection x (arXiv 2001.04451, section 2); the key is x / |x|. A hash is the
    index of the largest number of [x R; -x R] for a random matrix R (Andoni et al. 2015, arXiv 1509.02897),
    so vectors of nearly one direction mostly share a bucket. In each of `num_hashes` rounds a position sees
    the last `bucket_size` earlier positions of its bucket; of all rounds together it sees each position once.
    It sees itself only if it sees no other.

    Reformer instead sorts the positions by bucket and cuts them into chunks; a chunk sees itself and the one
    before. Where chunks begin depends on later tokens, so Reformer is not causal in the strict sense and
    cannot decode token by token. The last positions of a bucket are the same for every continuation.

    For R rounds of n buckets of size B, time is O(L R (R B D + n D)): a group of positions of one bucket is
    one product, and every round's pairs are compared with those of the others. A step of decoding compares
    buckets with all earlier positions.

    Args:
        num_hashes: rounds, each with its own matrix for each head.
        bucket_size: how many positions of a bucket are seen; None means the largest power of two <= sqrt(L).
        num_buckets: an even number; None means about L / bucket_size. L is the length given to `at_length`
            or, without it, the length of the call.
        hash_seed: determines the matrices, which are not trained and are the same in every layer.

    Raises:
        ValueError: num_hashes or bucket_size below 1, num_buckets odd or below 2, or hash_seed below 0.
    """
    for name, value, least in (
        ('num_hashes', num_hashes, 1),
        ('bucket_size', bucket_size, 1),
        ('num_buckets', num_buckets, 2),
        ('hash_seed', hash_seed, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f'{name} must be at least {least}; got {value}')
    if num_buckets is not None and num_buckets % 2:
        raise ValueError(
            f'num_buckets must be even, as opposite vectors have opposite buckets; got {num_buckets}'
        )

    def sizes_for(length: int) -> tuple[int, int]:
        size = bucket_size or default_block_size(length)
        return size, num_buckets or 2 * max(round(length / size / 2), 1)

    def hashed(x, buckets):
        """The bucket of each position in each round, int32 `[batch, heads, hashes, length]`."""
        shape = (x.shape[1], num_hashes, x.shape[3], buckets // 2)
        matrices = jax.random.normal(jax.random.key(hash_seed), shape)
        turned = contract('bhtd,hrdn->bhrtn', x, matrices)
        return jnp.concatenate([turned, -turned], axis=-1).argmax(axis=-1).astype(jnp.int32)

    def attend(x, v):
        check_qkv(x, x, v)
        size, buckets = sizes_for(x.shape[1])
        x, value = heads_major(x), heads_major(v)
        out = _attend(x, value, hashed(x, buckets), buckets, size)
        return heads_major(out).astype(v.dtype)

    def init_cache(batch, length, heads, head_dim, dtype):
        empty = jnp.zeros((batch, heads, length, head_dim), dtype)
        buckets = jnp.zeros((batch, heads, num_hashes, length), jnp.int32)
        return HashCache(empty, empty, buckets, jnp.int32(0))

    def extended(cache, x, v):
        """The cache with more tokens, and its sizes."""
        size, buckets = sizes_for(cache.shared.shape[2])
        new = 1 + hashed(heads_major(x), buckets)
        bucket = jax.lax.dynamic_update_slice_in_dim(cache.bucket, new, cache.index, axis=3)
        shared, value = (
            heads_major_update(cached, stretch, cache.index)
            for cached, stretch in ((cache.shared, x), (cache.value, v))
        )
        return HashCache(shared, value, bucket, cache.index + x.shape[1]), size, buckets

    def prefill(cache, x, v):
        check_qkv(x, x, v)
        after, size, buckets = extended(cache, x, v)
        out = heads_major(_attend(after.shared, after.value, after.bucket - 1, buckets, size))
        return after, jax.lax.dynamic_slice_in_dim(out, cache.index, x.shape[1], axis=1).astype(v.dtype)

    def step(cache, x, v):
        after, size, _ = extended(cache, x[:, None], v[:, None])
        here = jax.lax.dynamic_slice_in_dim(after.bucket, cache.index, 1, axis=3)
        alike = (after.bucket == here) & (jnp.arange(after.bucket.shape[3]) < cache.index)
        behind = jnp.cumsum(alike[..., ::-1].astype(jnp.int32), axis=-1)[..., ::-1]  # itself included
        seen = (alike & (behind <= size)).any(axis=2)[:, :, None]
        part = partial.attend(x[:, :, None], _keys(after.shared), after.value, seen)
        out = _or_itself([part], v[:, :, None])
        return after, out[:, :, 0].astype(v.dtype)

    def cost(length, heads, head_dim):
        size, buckets = sizes_for(length)
        pairs = capped_sum(length, size)  # of a round, at most
        macs = num_hashes * (2 * pairs + length * buckets // 2) * heads * head_dim
        return Cost(macs, 4 * 3 * length * heads * head_dim)

    def memory(length):
        size, buckets = sizes_for(length)
        return Memory('the last positions of every bucket', min(num_hashes * buckets * size, length))

    return Mechanism(
        attend=attend,
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=memory,
        state_size=keys_and_values(memory),
        complexity='LR(B + n)D',
        at_length=lambda max_length: lsh(num_hashes, *sizes_for(max_length), hash_seed),
        projections=(_SHARED, _VALUE),
        span='bucket_size',
    )


def _keys(shared: jax.Array) -> jax.Array:
    norm = jnp.sqrt(jnp.sum(jnp.square(shared.astype(jnp.float32)), axis=-1, keepdims=True) + _EPSILON)
    return (shared / norm).astype(shared.dtype)


def _or_itself(parts: list[partial.Partial], value: jax.Array) -> jax.Array:
    """Attention to the keys of all parts or, where a query sees none, its own value; float32."""
    none = functools.reduce(jnp.logical_and, [jnp.isneginf(part.top) for part in parts])
    itself = partial.Partial(value.astype(jnp.float32), jnp.ones(none.shape), jnp.where(none, 0.0, -jnp.inf))
    return partial.merge([*parts, itself])


def _attend(shared: jax.Array, value: jax.Array, bucket: jax.Array, buckets: int, size: int) -> jax.Array:
    """Attends within the buckets of all rounds.

    Args:
        shared, value: `[batch, heads, length, head_dim]`.
        bucket: int32 `[batch, heads, hashes, length]`; positions in bucket -1 see none and are seen by none.
        buckets: how many there are.
        size: how many positions of a bucket are seen.

    Returns:
        float32 `[batch, heads, length, head_dim]`.
    """
    parts = jax.vmap(jax.vmap(functools.partial(_rounds, buckets=buckets, size=size)))
    return _or_itself(parts(shared, _keys(shared), value, bucket), value)


def _rounds(query, key, value, bucket, *, buckets: int, size: int) -> list[partial.Partial]:
    """The attention of each round, `[length, ...]`; arrays as for `_attend`, of one head."""
    of_round = [grouping.group(one[:, None], buckets, size) for one in bucket]
    # In each round a position has a bucket, and a rank there.
    rank = jnp.stack([groups.rank[:, 0] for groups in of_round])
    parts = []
    for groups, of_row in zip(of_round, bucket, strict=True):
        row = groups.row_of.reshape(-1, size)
        goes_on = jnp.append(False, groups.bucket_of[1:] == groups.bucket_of[:-1])
        laid = lambda x, groups=groups: grouping.to_groups(x, groups).reshape(-1, size, x.shape[-1])
        # Keys of the group before are there if it is of the same bucket.
        other_row = _with_before(row)
        there = (other_row >= 0) & (goes_on[:, None] | (jnp.arange(2 * size) >= size))
        # A pair counts once, in equal shares of the rounds that see it.
        share = None
        if len(of_round) > 1:
            rounds = sum(
                (one[row][:, :, None] == one[other_row][:, None])
                & _is_within(ranks[row][:, :, None] - ranks[other_row][:, None], size)
                for one, ranks in zip(bucket, rank, strict=True)
            )
            share = 1 / jnp.maximum(rounds, 1)
        behind = jnp.arange(size)[:, None] + size - jnp.arange(2 * size)  # by how many ranks
        mask = there[:, None] & (row >= 0)[:, :, None] & _is_within(behind, size)
        keys, values = (_with_before(laid(x)) for x in (key, value))
        part = partial.attend(laid(query), keys, values, mask, share)
        by_row = lambda x, groups=groups: grouping.to_rows(x.reshape(-1, *x.shape[2:]), groups)[0]
        part = jax.tree.map(by_row, part)
        parts.append(part._replace(top=jnp.where(of_row >= 0, part.top, -jnp.inf)))
    return parts


def _is_within(behind: jax.Array, size: int) -> jax.Array:
    """Whether a position sees one that is so many ranks behind it."""
    return (behind > 0) & (behind <= size)


def _with_before(x: jax.Array) -> jax.Array:
    """The slots of the group before and of the group, `[groups, size, ...] -> [groups, 2 size, ...]`."""
    return jnp.concatenate([jnp.roll(x, 1, axis=0), x], axis=1)
