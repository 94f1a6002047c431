"""Rows sorted into groups of one size, so that those that need the same keys are one matrix product.

A mechanism that chooses keys by content needs, for each query, the keys of a few buckets. Copies of a query,
one for each bucket, are laid out by bucket in groups of equal size; the last group of a bucket may have empty
slots.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.softmax import contract


class Groups(NamedTuple):
    """Where each row's copies went.

    Attributes:
        slot_of: int32 `[rows, copies]`, the slot of a row's copy; -1 if the copy has no bucket.
        copy_of: int32 `[groups * size]`, the copy in a slot, `row * copies + number`; -1 if it is empty.
        bucket_of: int32 `[groups]`, the bucket of a group; of one without copies, the last that has any.
        rank: int32 `[rows, copies]`, how many earlier rows have a copy in the bucket.
    """

    slot_of: jax.Array
    copy_of: jax.Array
    bucket_of: jax.Array
    rank: jax.Array

    @property
    def row_of(self) -> jax.Array:
        """The row in each slot, int32 `[groups * size]`, or -1."""
        return jnp.where(self.copy_of >= 0, self.copy_of // self.slot_of.shape[1], -1)


def num_groups(rows: int, copies: int, buckets: int, size: int) -> int:
    """How many groups are enough for any choice of buckets."""
    return rows * copies // size + buckets


def group(bucket: jax.Array, buckets: int, size: int) -> Groups:
    """Sorts copies of rows by bucket, those of a bucket in the order of the rows.

    Args:
        bucket: int32 `[rows, copies]`, different buckets for the copies of a row, or -1.
        buckets: how many buckets there are.
        size: slots in a group.
    """
    rows, copies = bucket.shape
    chosen = (bucket[..., None] == jnp.arange(buckets)).any(axis=1).astype(jnp.int32)
    after = jnp.cumsum(chosen, axis=0)
    groups_of = -(-after[-1] // size)
    first = jnp.cumsum(groups_of) - groups_of
    rank = jnp.take_along_axis(after - chosen, jnp.maximum(bucket, 0), axis=1)
    slot_of = jnp.where(bucket >= 0, first[bucket] * size + rank, -1)
    groups = num_groups(rows, copies, buckets, size)
    places = jnp.where(slot_of >= 0, slot_of, groups * size).reshape(-1)  # those without a bucket are dropped
    empty = jnp.full(groups * size, -1, jnp.int32)
    copy_of = empty.at[places].set(
        jnp.arange(rows * copies, dtype=jnp.int32), mode='drop', unique_indices=True
    )
    bucket_of = (jnp.arange(groups)[:, None] >= first).sum(axis=-1) - 1
    return Groups(slot_of, copy_of, bucket_of, rank)


def to_groups(x: jax.Array, groups: Groups) -> jax.Array:
    """Lays copies of rows `[rows, ...]` into slots `[groups * size, ...]`; empty slots are zero."""
    return _take(x, groups.row_of, groups.slot_of)


def to_rows(x: jax.Array, groups: Groups) -> jax.Array:
    """Reads slots `[groups * size, ...]` by copy, `[copies, rows, ...]`; without a bucket zero."""
    rows, copies = groups.slot_of.shape
    taken = _take(x, groups.slot_of.reshape(-1), groups.copy_of[:, None])
    return taken.reshape(rows, copies, *x.shape[1:]).swapaxes(0, 1)


@jax.custom_vjp
def _take(x, index, back):
    """Rows of x, zero where there is none; the gradient reads rows, too, instead of adding to them.

    Args:
        x: `[rows, ...]`.
        index: int32 `[taken]`, the row, or -1.
        back: int32 `[rows, times]`, all places where a row stands in `index`, once each, or -1.
    """
    return _rows(x, index)


def _rows(x, index):
    present = (index >= 0).reshape(*index.shape, *(1,) * (x.ndim - 1))
    return jnp.where(present, x[jnp.maximum(index, 0)], 0)


_take.defvjp(
    lambda x, index, back: (_rows(x, index), back),
    lambda back, gradient: (_rows(gradient, back).sum(axis=1), None, None),
)


@jax.custom_vjp
def spread(x: jax.Array, index: jax.Array) -> jax.Array:
    """`x[index]` for rows that are read many times; the gradient is a product, which adds faster."""
    return x[index]


def _spread_back(saved, gradient):
    rows, index = saved
    is_row = (index[:, None] == jnp.arange(rows)).astype(gradient.dtype)
    return contract('tr,t...->r...', is_row, gradient).astype(gradient.dtype), None


spread.defvjp(lambda x, index: (x[index], (x.shape[0], index)), _spread_back)
