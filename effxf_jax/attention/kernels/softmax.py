"""Softmax attention to the keys that a mechanism keeps, laid out head by head.

A batched matrix product is fastest over contiguous matrices, so keys, values and blocks of queries are
`[batch, heads, ..., positions, head_dim]`. Scores, maxima and sums are float32 for every input dtype.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


def contract(equation: str, *operands: jax.Array) -> jax.Array:
    """An einsum that accumulates in float32 and returns float32."""
    if jax.default_backend() == 'cpu':
        # XLA's CPU backend cannot multiply 16-bit matrices into float32, nor multiply them faster.
        operands = [x.astype(jnp.float32) for x in operands]
    return jnp.einsum(equation, *operands, preferred_element_type=jnp.float32)


_QUERIES_AT_A_TIME = 1024

# Up to this many attention weights are kept for the backward pass; more are recomputed, to save memory.
_MOST_WEIGHTS_KEPT = 2**24


class Segment(NamedTuple):
    """Keys and values that blocks of queries may see.

    Attributes:
        sharing: which queries share keys; this determines the layout of key and value.
            'block': the queries of a block; `[batch, heads, blocks, slots, head_dim]`.
            'all': all queries; `[batch, heads, slots, head_dim]`.
            'offset': the queries at the same offset in their blocks;
            `[batch, heads, block_size, slots, head_dim]`.
        key, value: arrays in that layout.
        mask: bool, broadcasts to `[blocks, block_size, slots]`: whether a query sees a slot.
    """

    sharing: str
    key: jax.Array
    value: jax.Array
    mask: jax.Array


# Queries are bhnqd: batch, head, block, offset in the block, feature. Axes of keys and values before d:
_KEY_AXES = {'block': 'bhnk', 'all': 'bhk', 'offset': 'bhqk'}


def masked_attention(q, k, v, mask):
    """Softmax attention of a few queries.

    Args:
        q: `[batch, queries, heads, head_dim]`.
        k, v: `[batch, heads, keys, head_dim]`.
        mask: bool `[queries, keys]`, whether a query sees a key; every query must see one.

    Returns:
        `[batch, queries, heads, head_dim]`, in q's dtype.
    """
    scores = contract('bqhd,bhkd->bhqk', q, k) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return contract('bhqk,bhkd->bqhd', weights.astype(v.dtype), v).astype(q.dtype)


def segment_attention(q: jax.Array, segments: Sequence[Segment], num_calls: int = 1) -> jax.Array:
    """Softmax attention of blocks of queries to the union of some segments.

    Blocks are processed in groups, so that the scores of a group fit a core's cache. The backward pass
    recomputes the attention weights of a group unless they are few (Dao et al. 2022, section 3.1; the
    gradient follows their appendix B.2).

    Args:
        q: `[batch, heads, blocks, block_size, head_dim]`.
        segments: the keys and values that the blocks see; every query must see a key.
        num_calls: how many such calls a sequence takes; they share the room for weights that are kept.

    Returns:
        `[batch, heads, blocks, block_size, head_dim]`, in q's dtype.
    """
    sharing, keys, values, masks = zip(*segments, strict=True)
    most_kept = _MOST_WEIGHTS_KEPT // num_calls
    blocks, block_size = q.shape[2:4]
    at_a_time = max(_QUERIES_AT_A_TIME // block_size, 1)
    if blocks <= at_a_time:
        return _attend(sharing, most_kept, q, keys, values, masks)

    groups = -(-blocks // at_a_time)

    def cut(x, axis, fill=0):
        """Splits an axis of blocks into groups, along a new first axis; pads the last group with `fill`."""
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, groups * at_a_time - blocks)
        x = jnp.pad(x, widths, constant_values=fill)
        return jnp.moveaxis(x.reshape(*x.shape[:axis], groups, at_a_time, *x.shape[axis + 1 :]), axis, 0)

    def cut_where(is_cut, xs, axis, fill=0):
        return [cut(x, axis, fill) if chosen else None for x, chosen in zip(xs, is_cut, strict=True)]

    def one_group(group):
        q, *parts = group
        # Every group sees the whole of the arrays that are not split.
        whole = keys, values, masks
        parts = (
            tuple(x if part is None else part for part, x in zip(*pair, strict=True))
            for pair in zip(parts, whole, strict=True)
        )
        return _attend(sharing, most_kept, q, *parts)

    by_block = [shared == 'block' for shared in sharing]
    mask_by_block = [mask.ndim == 3 and mask.shape[0] == blocks for mask in masks]
    group = (
        cut(q, 2),
        cut_where(by_block, keys, 2),
        cut_where(by_block, values, 2),
        cut_where(mask_by_block, masks, 0, fill=True),  # padded queries must see a key too
    )
    out = jnp.moveaxis(jax.lax.map(one_group, group), 0, 2)
    return out.reshape(*q.shape[:2], groups * at_a_time, *q.shape[3:])[:, :, :blocks]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(sharing, most_kept, q, keys, values, masks):
    return _forward(sharing, most_kept, q, keys, values, masks)[0]


def _forward(sharing, most_kept, q, keys, values, masks):
    scale = q.shape[-1] ** -0.5
    scores = [_scores(shared, q, key, mask) for shared, key, mask in zip(sharing, keys, masks, strict=True)]
    top = functools.reduce(jnp.maximum, [s.max(axis=-1, keepdims=True) for s in scores])
    weights = [jnp.exp((s - top) * scale) for s in scores]
    total = sum(w.sum(axis=-1, keepdims=True) for w in weights)
    out = sum(
        contract(f'bhnqk,{_KEY_AXES[shared]}d->bhnqd', w.astype(value.dtype), value)
        for shared, w, value in zip(sharing, weights, values, strict=True)
    )
    out = (out / total).astype(q.dtype)
    if sum(w.size for w in weights) <= most_kept:
        kept = [w / total for w in weights]
    else:
        kept = top * scale + jnp.log(total)
    return out, (q, keys, values, masks, out, kept)


def _backward(sharing, most_kept, residuals, out_gradient):
    del most_kept
    q, keys, values, masks, out, kept = residuals
    scale = q.shape[-1] ** -0.5
    pull = normaliser_pull(out, out_gradient)
    q_gradient, key_gradients, value_gradients = 0.0, [], []
    for number, (shared, key, value, mask) in enumerate(zip(sharing, keys, values, masks, strict=True)):
        axes = _KEY_AXES[shared]
        if isinstance(kept, list):
            weights = kept[number]
        else:
            weights = jnp.exp(_scores(shared, q, key, mask) * scale - kept)
        score_gradient = weights * (contract(f'bhnqd,{axes}d->bhnqk', out_gradient, value) - pull)
        weights, score_gradient = weights.astype(value.dtype), score_gradient.astype(key.dtype)
        q_gradient += contract(f'bhnqk,{axes}d->bhnqd', score_gradient, key)
        # The product is transposed, so that its larger factor, the weights, need not be.
        turned = f'bhnqd,bhnqk->{axes[:-1]}dk'
        key_gradients.append(_turn(contract(turned, q, score_gradient) * scale, key.dtype))
        value_gradients.append(_turn(contract(turned, out_gradient, weights), value.dtype))
    return (q_gradient * scale).astype(q.dtype), tuple(key_gradients), tuple(value_gradients), None


_attend.defvjp(_forward, _backward)


def _scores(sharing, q, key, mask):
    return jnp.where(mask, contract(f'bhnqd,{_KEY_AXES[sharing]}d->bhnqk', q, key), -jnp.inf)


def _turn(x, dtype):
    return x.swapaxes(-1, -2).astype(dtype)


def normaliser_pull(out, out_gradient):
    """The normaliser's term, subtracted in the gradient of each score of a row, `[..., 1]`."""
    return contract('...d,...d->...', out, out_gradient)[..., None]
