"""Causal softmax attention without the quadratic matrix of scores.

The scores are computed tile by tile with a running maximum, after Rabe and Staats (2021) and Dao et al.
(2022, algorithm 1). One tile of scores exists at a time; the backward pass keeps the output and the logarithm
of each row's normaliser.
"""

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.softmax import Segment, contract, normaliser_pull, segment_attention

TILE = 512
"""Positions along a tile's side: its scores fit a core's cache, and its matrix products are still large."""
_SHORTEST_HALVED = 64


def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Softmax attention over every earlier position; memory O(length * head_dim + TILE^2) per head.

    Args:
        q, k, v: `[batch, heads, length, head_dim]`.

    Returns:
        `[batch, heads, length, head_dim]`, in q's dtype.
    """
    batch, heads, length, head_dim = q.shape
    if length <= TILE:
        if length < _SHORTEST_HALVED:
            return _attend_last(q, k, v)
        # The first half's queries do not see the second half's keys, a quarter of the pairs.
        half = length // 2
        first = _attend_last(*(x[:, :, :half] for x in (q, k, v)))
        return jnp.concatenate([first, _attend_last(q[:, :, half:], k, v)], axis=2)
    tiles = -(-length // TILE)

    def cut(x):
        x = jnp.pad(x, ((0, 0), (0, 0), (0, tiles * TILE - length), (0, 0)))
        return jnp.moveaxis(x.reshape(batch, heads, tiles, TILE, head_dim), 2, 0)

    out = jnp.moveaxis(_attend(cut(q), cut(k), cut(v)), 0, 2)
    return out.reshape(batch, heads, tiles * TILE, head_dim)[:, :, :length]


def _attend_last(q, k, v):
    """Attention of the last positions' queries to all keys, without tiles."""
    one_block = lambda x: x[:, :, None]
    causal = jnp.tri(q.shape[2], k.shape[2], k=k.shape[2] - q.shape[2], dtype=bool)
    return segment_attention(one_block(q), [Segment('block', one_block(k), one_block(v), causal)])[:, :, 0]


@jax.custom_vjp
def _attend(q, k, v):
    """Causal attention over arrays cut into tiles, `[tiles, batch, heads, TILE, head_dim]`."""
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
