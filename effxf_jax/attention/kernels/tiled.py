"""Causal softmax attention that computes few of the pairs that the mask discards.

A short sequence is cut into rows: a few blocks of queries, each with all keys up to its end. The scores of a
long one are computed tile by tile with a running maximum, after Rabe and Staats (2021) and Dao et al. (2022,
algorithm 1). Then one tile of scores exists at a time, and the backward pass keeps the output and the
logarithm of each row's normaliser.

With n rows or tiles along a side, 1 / (n + 1) of the pairs that are computed are masked.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.softmax import Segment, contract, normaliser_pull, segment_attention

LONGEST_IN_ROWS = 1536
"""Up to this length rows are faster than tiles."""
_SHORTEST_CUT, _ROW, _MOST_ROWS = 64, 40, 8
TILE = 512
"""The most positions along a tile's side: its scores fit a core's cache, and its products are still large."""
_LEAST_TILES = 6


def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Softmax attention over every earlier position.

    Beyond LONGEST_IN_ROWS the memory is O(length * head_dim + TILE^2) per head.

    Args:
        q, k, v: `[batch, heads, length, head_dim]`.

    Returns:
        `[batch, heads, length, head_dim]`, in q's dtype.
    """
    if q.shape[2] <= LONGEST_IN_ROWS:
        return attend_in_rows(q, k, v, lambda begin, end: jnp.tri(end - begin, end, k=begin, dtype=bool))
    return _in_tiles(q, k, v)


def num_rows(length: int) -> int:
    """Into how many rows a sequence of at most LONGEST_IN_ROWS is cut."""
    return 1 if length < _SHORTEST_CUT else min(max(length // _ROW, 2), _MOST_ROWS)


def attend_in_rows(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: Callable[[int, int], jax.Array]
) -> jax.Array:
    """Softmax attention under a causal mask; shapes as for `causal_attention`.

    Args:
        q, k, v: `[batch, heads, length, head_dim]`, of at most LONGEST_IN_ROWS positions.
        mask: `(begin, end) -> bool [end - begin, end]`: which of the keys before `end` the queries from
            `begin` to `end` see; none later than itself, and at least one.
    """
    length = q.shape[2]
    rows = num_rows(length)
    ends = [length * number // rows for number in range(rows + 1)]
    one_block = lambda x: x[:, :, None]
    out = []
    for begin, end in itertools.pairwise(ends):
        seen = Segment('block', one_block(k[:, :, :end]), one_block(v[:, :, :end]), mask(begin, end))
        out.append(segment_attention(one_block(q[:, :, begin:end]), [seen], num_calls=rows)[:, :, 0])
    return jnp.concatenate(out, axis=2)


def num_tiles(length: int) -> int:
    """Into how many tiles along a side a sequence above LONGEST_IN_ROWS is cut."""
    return max(-(-length // TILE), _LEAST_TILES)


def _in_tiles(q, k, v):
    batch, heads, length, head_dim = q.shape
    tiles = num_tiles(length)
    size = -(-length // tiles)  # equal tiles, so that the last one is not mostly padding

    def cut(x):
        x = jnp.pad(x, ((0, 0), (0, 0), (0, tiles * size - length), (0, 0)))
        return jnp.moveaxis(x.reshape(batch, heads, tiles, size, head_dim), 2, 0)

    out = jnp.moveaxis(_attend(cut(q), cut(k), cut(v)), 0, 2)
    return out.reshape(batch, heads, tiles * size, head_dim)[:, :, :length]


@jax.custom_vjp
def _attend(q, k, v):
    """Causal attention over arrays cut into tiles, `[tiles, batch, heads, size, head_dim]`."""
    return _forward(q, k, v)[0]


def _forward(q, k, v):
    scale = q.shape[-1] ** -0.5

    def one_row_of_tiles(i):
        def add(running, scores, value):
            top, total, out = running
            new_top = jnp.maximum(top, scores.max(axis=-1, keepdims=True))
            weights, shrink = jnp.exp((scores - new_top) * scale), jnp.exp((top - new_top) * scale)
            total = total * shrink + weights.sum(axis=-1, keepdims=True)
            out = out * shrink + contract('bhqk,bhkd->bhqd', weights.astype(value.dtype), value)
            return new_top, total, out

        zero = jnp.zeros(q.shape[1:], jnp.float32)
        running = zero[..., :1] - jnp.inf, zero[..., :1], zero
        # The tile on the diagonal comes first, after which every row's maximum is finite.
        running = add(running, _on_diagonal(_scores(q[i], k[i])), v[i])
        top, total, out = jax.lax.fori_loop(
            0, i, lambda j, running: add(running, _scores(q[i], k[j]), v[j]), running
        )
        return (out / total).astype(q.dtype), top * scale + jnp.log(total)

    out, log_total = jax.lax.map(one_row_of_tiles, jnp.arange(len(q)))
    return out, (q, k, v, out, log_total)


def _backward(residuals, out_gradient):
    q, k, v, out, log_total = residuals
    scale = q.shape[-1] ** -0.5
    pull = normaliser_pull(out, out_gradient)

    def one_row_of_tiles(kv_gradients, i):
        def add(j, gradients, scores):
            q_gradient, k_gradient, v_gradient = gradients
            weights = jnp.exp(scores * scale - log_total[i])
            score_gradient = weights * (_scores(out_gradient[i], v[j]) - pull[i])
            weights, score_gradient = weights.astype(v.dtype), score_gradient.astype(k.dtype)
            q_gradient += contract('bhqk,bhkd->bhqd', score_gradient, k[j])
            # The products are transposed, so that their larger factor, the weights, need not be.
            k_gradient = k_gradient.at[j].add(contract('bhqd,bhqk->bhdk', q[i], score_gradient))
            v_gradient = v_gradient.at[j].add(contract('bhqd,bhqk->bhdk', out_gradient[i], weights))
            return q_gradient, k_gradient, v_gradient

        gradients = jnp.zeros(q.shape[1:], jnp.float32), *kv_gradients
        gradients = add(i, gradients, _on_diagonal(_scores(q[i], k[i])))
        q_gradient, *kv_gradients = jax.lax.fori_loop(
            0, i, lambda j, gradients: add(j, gradients, _scores(q[i], k[j])), gradients
        )
        return tuple(kv_gradients), (q_gradient * scale).astype(q.dtype)

    turned = jnp.zeros((*q.shape[:3], q.shape[4], q.shape[3]), jnp.float32)
    (k_gradient, v_gradient), q_gradient = jax.lax.scan(
        one_row_of_tiles, (turned, turned), jnp.arange(len(q))
    )
    turn_back = lambda x: x.swapaxes(-1, -2)
    return q_gradient, turn_back(k_gradient * scale).astype(k.dtype), turn_back(v_gradient).astype(v.dtype)


_attend.defvjp(_forward, _backward)


def _scores(q, k):
    return contract('bhqd,bhkd->bhqk', q, k)


def _on_diagonal(scores):
    return jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf)
