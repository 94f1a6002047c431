"""Linear attention: a softmax replaced by a feature map, so that a fixed-size state is enough."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.mechanism import Cost, Mechanism, check_qkv

FEATURE_MAPS = {
    'elu_plus_one': lambda x: jax.nn.elu(x) + 1,  # Katharopoulos et al. 2020, equation 7
    'relu': jax.nn.relu,
    'softplus': jax.nn.softplus,
}

# Below this the normaliser is taken as zero: far under any value that training meets, and far enough
# above float32's smallest number that the square of its inverse, in the gradient, stays finite.
_SMALLEST_NORMALISER = 1e-12


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
    equations 9 to 11). The sums over whole chunks come from `jax.lax.associative_scan`; within a chunk
    the pairs are formed directly. Memory is O(L / chunk_size * d^2 + L * (d + chunk_size)) per head, and
    chunk_size=1 is the textbook form. States and sums are float32 whatever the input's dtype.

    Args:
        feature_map: phi, a key of FEATURE_MAPS.
        chunk_size: positions in a chunk.

    Raises:
        ValueError: an unknown feature map, or chunk_size < 1.
    """
    if feature_map not in FEATURE_MAPS:
        raise ValueError(f'feature_map must be one of {sorted(FEATURE_MAPS)}; got {feature_map!r}')
    if chunk_size < 1:
        raise ValueError(f'chunk_size must be at least 1; got {chunk_size}')
    phi = FEATURE_MAPS[feature_map]

    def prefill(state, q, k, v):
        check_qkv(q, k, v)
        query, key, value = (x.astype(jnp.float32) for x in (phi(q), phi(k), v))
        state, out = continue_prefix_sums(state, query, key, value, chunk_size)
        return state, out.astype(v.dtype)

    def attend(q, k, v):
        check_qkv(q, k, v)
        batch, _, heads, head_dim = q.shape
        return prefill(init_cache(batch, None, heads, head_dim, None), q, k, v)[1]

    def step(state, q, k, v):
        query, key, value = (x.astype(jnp.float32) for x in (phi(q), phi(k), v))
        state = LinearState(state.key_value + key[..., :, None] * value[..., None, :], state.key + key)
        numerator = jnp.einsum('bhd,bhde->bhe', query, state.key_value)
        normaliser = jnp.einsum('bhd,bhd->bh', query, state.key)
        return state, _divide(numerator, normaliser).astype(v.dtype)

    def cost(length, heads, head_dim):
        chunks, rest = divmod(length, chunk_size)
        pairs = chunks * chunk_size * (chunk_size + 1) // 2 + rest * (rest + 1) // 2
        chunks += rest > 0
        # Per token: phi(k) v^T and phi(q) S, and the same for z. Per pair: a score and a scaled value.
        macs = length * 2 * (head_dim**2 + head_dim) + pairs * 2 * head_dim
        numbers = 4 * length * head_dim + pairs + chunks * (head_dim**2 + head_dim)
        return Cost(macs=heads * macs, bytes=4 * heads * numbers)

    return Mechanism(
        name=f'linear(feature_map={feature_map!r}, chunk_size={chunk_size})',
        attend=attend,
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        state_size=lambda length, heads, head_dim: heads * (head_dim**2 + head_dim),
        at_length=lambda max_length: linear(feature_map, chunk_size),
    )


def init_cache(batch: int, length, heads: int, head_dim: int, dtype) -> LinearState:
    """The empty state: neither its size nor its dtype depends on `length` and `dtype`."""
    del length, dtype
    return LinearState(
        jnp.zeros((batch, heads, head_dim, head_dim), jnp.float32),
        jnp.zeros((batch, heads, head_dim), jnp.float32),
    )


def continue_prefix_sums(state: LinearState, q, k, v, chunk_size: int):
    """Normalised causal sums after feature maps, continuing a state.

    Args:
        state: the sums before the first token.
        q, k: features, float32 `[batch, length, heads, head_dim]`.
        v: float32 `[batch, length, heads, head_dim]`.
        chunk_size: positions in a chunk.

    Returns:
        The state after the last token, and float32 `[batch, length, heads, head_dim]`.
    """
    batch, length, heads, head_dim = q.shape
    chunk_size = min(chunk_size, length)
    chunks = -(-length // chunk_size)
    padding = ((0, 0), (0, chunks * chunk_size - length), (0, 0), (0, 0))
    # Padded features are zero, so that they add nothing to any sum.
    q, k, v = (jnp.pad(x, padding).reshape(batch, chunks, chunk_size, heads, head_dim) for x in (q, k, v))
    chunk_sums = LinearState(jnp.einsum('bnchd,bnche->bnhde', k, v), k.sum(axis=2))
    after = jax.lax.associative_scan(lambda a, b: jax.tree.map(jnp.add, a, b), chunk_sums, axis=1)
    after = jax.tree.map(lambda start, sums: start[:, None] + sums, state, after)
    before = jax.tree.map(
        lambda start, sums: jnp.concatenate([start[:, None], sums[:, :-1]], axis=1), state, after
    )

    scores = jnp.einsum('bnqhd,bnkhd->bnhqk', q, k)
    scores = jnp.where(jnp.tri(chunk_size, dtype=bool), scores, 0)
    numerator = jnp.einsum('bnhqk,bnkhe->bnqhe', scores, v)
    numerator += jnp.einsum('bnqhd,bnhde->bnqhe', q, before.key_value)
    normaliser = scores.sum(axis=-1).swapaxes(2, 3)
    normaliser += jnp.einsum('bnqhd,bnhd->bnqh', q, before.key)
    out = _divide(numerator, normaliser).reshape(batch, chunks * chunk_size, heads, head_dim)
    return jax.tree.map(lambda sums: sums[:, -1], after), out[:, :length]


def _divide(numerator, normaliser):
    return numerator / jnp.maximum(normaliser, _SMALLEST_NORMALISER)[..., None]
