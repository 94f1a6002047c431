"""The delta rule: a state that replaces what a key holds instead of adding to it."""

import jax
import jax.numpy as jnp

from effxf_jax.attention import gates
from effxf_jax.attention.kernels import chunks, triangular
from effxf_jax.attention.kernels.layout import check_qkv, cut, join
from effxf_jax.attention.kernels.softmax import contract
from effxf_jax.attention.mechanism import QKV, Cost, Mechanism, Projection
from effxf_jax.attention.recurrent import recurrent

_BETA = Projection('beta', size=1, decays=False)
_EPSILON = 1e-6  # added to the square of a key's norm


def delta(gate: str = 'learned', negative_eigenvalues: bool = False, chunk_size: int = 64) -> Mechanism:
    """The delta rule, `out_t = rms(S_t^T q_t)`, `S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T`.

    Keys have the norm 1, so a write with b = 1 replaces the value that the key holds (DeltaNet: Schlag et al.
    2021, arXiv 2102.11174, equation 24; with a gate Gated DeltaNet: Yang et al. 2024, arXiv 2412.06464,
    equation 10). b_t = sigmoid(x_t), with one number x for each head and token. rms divides by the root mean
    square over the features of a head, so the scale of a query cancels, up to an epsilon.

    Within a chunk the writes are the solution of a triangular system (the WY form: Yang et al. 2024, arXiv
    2406.06484, sections 3.1 and 3.2); chunks follow one another, since each multiplies the state by a matrix.
    Memory is O(L / chunk_size * d^2 + L * (d + chunk_size)) per head. All is float32 for every input dtype.

    Args:
        gate: where a_t comes from, a key of `gates.GATES`.
        negative_eigenvalues: b_t = 2 sigmoid(x_t), so that a write can turn the sign of what a key holds
            (Grazzi et al. 2024, arXiv 2411.12537).
        chunk_size: the largest number of positions in a chunk.

    Raises:
        ValueError: an unknown gate, or chunk_size < 1.
    """
    chosen = gates.find(gate)
    chunks.check_size(chunk_size)
    most = 2.0 if negative_eigenvalues else 1.0

    def features(q, k, v, beta):
        query, key, value, beta = (x.astype(jnp.float32) for x in (q, k, v, beta))
        key *= jax.lax.rsqrt(jnp.sum(jnp.square(key), axis=-1, keepdims=True) + _EPSILON)
        return query, key, value, most * jax.nn.sigmoid(beta)

    def prefill(state, q, k, v, beta, *gate_inputs):
        check_qkv(q, k, v)
        length = q.shape[1]
        size = chunks.even_length(length, chunk_size)
        # Chunks come first, as they follow one another. Padded positions have the rate 0: they write nothing.
        chunked = lambda x: jnp.moveaxis(cut(x, size), 2, 0)
        query, key, value, rate = (chunked(x) for x in features(q, k, v, beta))
        decay = chunks.Decay(chunked(chosen.log(v, *gate_inputs)[..., None])[..., 0])
        # Write i changes what its key holds, which the writes before it in the chunk have changed too.
        system = rate * contract('cbhid,cbhjd->cbhij', key, key) * decay.between
        wanted = jnp.concatenate([value, decay.from_begin[..., None] * key], axis=-1)
        solved = contract('cbhij,cbhjd->cbhid', triangular.inverse(system), rate * wanted)
        writes, reads = jnp.split(solved, 2, axis=-1)
        scores = contract('cbhqd,cbhkd->cbhqk', query, key) * decay.between
        from_begin, to_end = query * decay.from_begin[..., None], key * decay.to_end[..., None]

        def follow(state, chunk):
            writes, reads, scores, from_begin, to_end, whole = chunk
            written = writes - contract('bhid,bhde->bhie', reads, state)
            out = contract('bhqk,bhke->bhqe', scores, written) + contract(
                'bhqd,bhde->bhqe', from_begin, state
            )
            return whole[..., None, None] * state + contract('bhkd,bhke->bhde', to_end, written), out

        parts = (writes, reads, scores, from_begin, to_end, decay.whole)
        after, out = jax.lax.scan(follow, state.key_value, parts)
        return chunks.State(after), join(chunks.rms(jnp.moveaxis(out, 0, 2)))[:, :length].astype(v.dtype)

    def step(state, q, k, v, beta, *gate_inputs):
        query, key, value, rate = features(q, k, v, beta)
        kept = jnp.exp(chosen.log(v, *gate_inputs))[..., None, None] * state.key_value
        change = rate * (value - jnp.einsum('bhd,bhde->bhe', key, kept))
        after = kept + key[..., :, None] * change[..., None, :]
        out = chunks.rms(jnp.einsum('bhd,bhde->bhe', query, after))
        return chunks.State(after), out.astype(v.dtype)

    def cost(length, heads, head_dim):
        pairs = chunks.num_pairs(length, chunks.even_length(length, chunk_size))
        # Per token: reads S, S^T q and k u^T. Per pair: two scores, a scaled write, and in the triangular
        # system a scaled row of writes and reads, except where the two positions are the same.
        macs = length * 3 * head_dim**2 + pairs * 3 * head_dim + (pairs - length) * 2 * head_dim
        numbers = (4 * head_dim + 1 + len(chosen.projections)) * length + head_dim**2
        return Cost(macs=heads * macs, bytes=4 * heads * numbers)

    return recurrent(
        prefill,
        step,
        cost,
        at_length=lambda max_length: delta(gate, negative_eigenvalues, chunk_size),
        projections=(QKV, _BETA, *chosen.projections),
    )
