"""Linear attention: a feature map replaces the softmax, so that a state of fixed size holds the past."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels import chunks
from effxf_jax.attention.kernels.layout import check_qkv, cut, join
from effxf_jax.attention.kernels.softmax import contract
from effxf_jax.attention.mechanism import Cost, Mechanism, Memory


class FeatureMap(NamedTuple):
    """A positive function phi of each number of a query or a key, and its logarithm, both of float32."""

    phi: Callable[[jax.Array], jax.Array]
    log: Callable[[jax.Array], jax.Array]


# Below this, softplus(x) is exp(x) in float32.
_EXPONENTIAL = -17.0

FEATURE_MAPS = {
    # elu(x) + 1 (Katharopoulos et al. 2020, equation 7), without the cancellation that makes it vanish.
    'elu_plus_one': FeatureMap(
        phi=lambda x: jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0))),
        log=lambda x: jnp.where(x > 0, jnp.log1p(jnp.maximum(x, 0)), x),
    ),
    'softplus': FeatureMap(
        phi=jax.nn.softplus,
        log=lambda x: jnp.where(x > _EXPONENTIAL, jnp.log(jax.nn.softplus(jnp.maximum(x, _EXPONENTIAL))), x),
    ),
}

# The least normaliser by which an output is divided, near the least that float32 has in full precision.
_SMALLEST_NORMALISER = 1e-37
# The least normaliser that has a gradient: far below the values that occur in training, and large enough that
# the square of its inverse is finite in float32.
_SMALLEST_TRAINED = 1e-12


class LinearState(NamedTuple):
    """The prefix sums over the tokens seen, in float32.

    Attributes:
        key_value: `[batch, heads, head_dim, head_dim]`, sum of phi(k_s) v_s^T.
        key: `[batch, heads, head_dim]`, sum of phi(k_s).
    """

    key_value: jax.Array
    key: jax.Array


def linear(feature_map: str = 'elu_plus_one', chunk_size: int = 64) -> Mechanism:
    """Causal linear attention, `out_t = phi(q_t) S_t / phi(q_t) z_t` with prefix sums S and z.

    `S_t = sum_{s<=t} phi(k_s) v_s^T` and `z_t = sum_{s<=t} phi(k_s)` (Katharopoulos et al. 2020,
    equations 9 to 11). `jax.lax.associative_scan` computes the sums over whole chunks; within a chunk every
    pair has a score. Memory is O(L / chunk_size * d^2 + L * (d + chunk_size)) per head; chunk_size=1 is the
    textbook form. Features, states and sums are float32 for every input dtype. A factor common to all
    features of a query cancels, so they are divided by the largest, and no query is too negative. Keys can
    be: if all numbers of all keys seen lie below -27, the gradient is zero, and below -85 so is the output.

    Args:
        feature_map: phi, a key of FEATURE_MAPS.
        chunk_size: the largest number of positions in a chunk.

    Raises:
        ValueError: an unknown feature map, or chunk_size < 1.
    """
    if feature_map not in FEATURE_MAPS:
        raise ValueError(f'feature_map must be one of {sorted(FEATURE_MAPS)}; got {feature_map!r}')
    chunks.check_size(chunk_size)
    phi, log_phi = FEATURE_MAPS[feature_map]

    def features(q, k, v):
        q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
        log = log_phi(q)
        return jnp.exp(log - jax.lax.stop_gradient(log.max(axis=-1, keepdims=True))), phi(k), v

    def chunked(q, k, v):
        check_qkv(q, k, v)
        size = chunks.even_length(q.shape[1], chunk_size)
        return [cut(x, size) for x in features(q, k, v)]

    def attend(q, k, v):
        return join(_chunked(*chunked(q, k, v)))[:, : q.shape[1]].astype(v.dtype)

    def prefill(state, q, k, v):
        query, *rest = chunked(q, k, v)
        before, after = _prefix_sums(*rest, state)
        return after, join(_outputs(query, *rest, before)[0])[:, : q.shape[1]].astype(v.dtype)

    def step(state, q, k, v):
        query, key, value = features(q, k, v)
        state = LinearState(state.key_value + key[..., :, None] * value[..., None, :], state.key + key)
        numerator = jnp.einsum('bhd,bhde->bhe', query, state.key_value)
        normaliser = jnp.einsum('bhd,bhd->bh', query, state.key)
        out = numerator / jnp.maximum(normaliser, _SMALLEST_NORMALISER)[..., None]
        return state, out.astype(v.dtype)

    def cost(length, heads, head_dim):
        pairs = chunks.num_pairs(length, chunks.even_length(length, chunk_size))
        # Per token: phi(k) v^T and phi(q) S, and the same for z. Per pair: a score and a scaled value.
        macs = length * 2 * (head_dim**2 + head_dim) + pairs * 2 * head_dim
        numbers = 4 * length * head_dim + head_dim**2 + head_dim
        return Cost(macs=heads * macs, bytes=4 * heads * numbers)

    return Mechanism(
        attend=attend,
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=lambda length: Memory('the prefix state', None),
        complexity='L(C + D/H)D',
        state_size=lambda length, heads, head_dim: heads * (head_dim**2 + head_dim),
        at_length=lambda max_length: linear(feature_map, chunk_size),
        matrices=('key_value',),
    )


def init_cache(batch: int, length, heads: int, head_dim: int, dtype) -> LinearState:
    """The empty state, whose size and dtype do not depend on `length` and `dtype`."""
    del length, dtype
    return LinearState(
        jnp.zeros((batch, heads, head_dim, head_dim), jnp.float32),
        jnp.zeros((batch, heads, head_dim), jnp.float32),
    )


@jax.custom_vjp
def _chunked(q, k, v):
    """Linear attention of features.

    Args:
        q, k: features, float32 `[batch, heads, chunks, chunk_size, head_dim]`; zero at padded positions.
        v: values, float32 of the same shape.

    Returns:
        The output, float32 of the same shape.
    """
    return _forward(q, k, v)[0]


def _forward(q, k, v):
    batch, heads, _, _, head_dim = q.shape
    before, _ = _prefix_sums(k, v, init_cache(batch, None, heads, head_dim, None))
    out, normaliser = _outputs(q, k, v, before)
    return out, (q, k, v, before, out, normaliser)


def _backward(residuals, out_gradient):
    """The chain rule for out = u / z, where g is the gradient of u and n the gradient of z."""
    q, k, v, before, out, normaliser = residuals
    g = out_gradient / jnp.where(normaliser > _SMALLEST_TRAINED, normaliser, jnp.inf)[..., None]
    n = -contract('...d,...d->...', out, g)
    later = LinearState(contract('bhcqd,bhcqe->bhcde', q, g), contract('bhcqd,bhcq->bhcd', q, n))
    later = _exclusive_sums(later, reverse=True)
    score_gradient = _causal(contract('bhcqe,bhcke->bhcqk', g, v) + n[..., None])
    q_gradient = (
        contract('bhcqk,bhckd->bhcqd', score_gradient, k)
        + contract('bhcqe,bhcde->bhcqd', g, before.key_value)
        + n[..., None] * before.key[..., None, :]
    )
    k_gradient = (
        contract('bhcqk,bhcqd->bhckd', score_gradient, q)
        + contract('bhcke,bhcde->bhckd', v, later.key_value)
        + later.key[..., None, :]
    )
    v_gradient = contract('bhcqk,bhcqe->bhcke', _scores(q, k), g) + contract(
        'bhckd,bhcde->bhcke', k, later.key_value
    )
    return q_gradient, k_gradient, v_gradient


_chunked.defvjp(_forward, _backward)


def _prefix_sums(k, v, state: LinearState) -> tuple[LinearState, LinearState]:
    """The states before each chunk, `[batch, heads, chunks, ...]`, and after the last, continuing a state."""
    ones = jnp.ones(k.shape[3])
    sums = LinearState(contract('bhckd,bhcke->bhcde', k, v), contract('bhckd,k->bhcd', k, ones))
    before = jax.tree.map(lambda start, sums: start[:, :, None] + sums, state, _exclusive_sums(sums))
    return before, jax.tree.map(lambda before, sums: before[:, :, -1] + sums[:, :, -1], before, sums)


def _exclusive_sums(x: LinearState, reverse: bool = False) -> LinearState:
    """Sums over all chunks before each chunk or, reversed, after each chunk."""
    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    x = jax.lax.associative_scan(add, x, axis=2, reverse=reverse)

    def shift(sums):
        none = jnp.zeros_like(sums[:, :, :1])
        parts = [sums[:, :, 1:], none] if reverse else [none, sums[:, :, :-1]]
        return jnp.concatenate(parts, axis=2)

    return jax.tree.map(shift, x)


def _outputs(q, k, v, before: LinearState):
    """The outputs, and their normalisers `[batch, heads, chunks, chunk_size]`."""
    scores = _scores(q, k)
    out = contract('bhcqk,bhcke->bhcqe', scores, v) + contract('bhcqd,bhcde->bhcqe', q, before.key_value)
    ones = jnp.ones(scores.shape[-1])
    normaliser = contract('bhcqk,k->bhcq', scores, ones) + contract('bhcqd,bhcd->bhcq', q, before.key)
    normaliser = jnp.maximum(normaliser, _SMALLEST_NORMALISER)
    return out / normaliser[..., None], normaliser


def _scores(q, k):
    return _causal(contract('bhcqd,bhckd->bhcqk', q, k))


def _causal(x):
    return jnp.where(jnp.tri(x.shape[-1], dtype=bool), x, 0)
