"""Linear attention whose state forgets: a sum of outer products that decays from token to token."""

import jax.numpy as jnp

from effxf_jax.attention import gates
from effxf_jax.attention.kernels import chunks
from effxf_jax.attention.kernels.layout import check_qkv, cut, join
from effxf_jax.attention.kernels.softmax import contract
from effxf_jax.attention.mechanism import QKV, Cost, Mechanism
from effxf_jax.attention.recurrent import recurrent


def gated_linear(gate: str = 'learned', chunk_size: int = 64) -> Mechanism:
    """Gated linear attention, `out_t = rms(S_t^T q_t)` with the state `S_t = a_t S_{t-1} + k_t v_t^T`.

    The recurrence is that of RetNet (Sun et al. 2023, arXiv 2307.08621, equation 6) and of Mamba-2 (Dao and
    Gu 2024, arXiv 2405.21060, section 5.1). rms divides by the root mean square over the features of a head,
    so the scale of a query cancels, up to an epsilon. Within a chunk every pair has a score, times the decay
    between the two; `jax.lax.associative_scan` carries decays and states across chunks. Memory is
    O(L / chunk_size * d^2 + L * (d + chunk_size)) per head. Gates, scores, states and sums are float32 for
    every input dtype.

    Args:
        gate: where a_t comes from, a key of `gates.GATES`.
        chunk_size: the largest number of positions in a chunk.

    Raises:
        ValueError: an unknown gate, or chunk_size < 1.
    """
    chosen = gates.find(gate)
    chunks.check_size(chunk_size)

    def prefill(state, q, k, v, *gate_inputs):
        check_qkv(q, k, v)
        length = q.shape[1]
        size = chunks.even_length(length, chunk_size)
        query, key, value = (cut(x.astype(jnp.float32), size) for x in (q, k, v))
        log = chunks.cut_numbers(chosen.log(v, *gate_inputs), size)
        decay = chunks.Decay(log)
        sums = contract('bhckd,bhcke->bhcde', key * decay.to_end[..., None], value)
        before, after = chunks.states(decay.whole, sums, state.key_value)
        scores = contract('bhcqd,bhckd->bhcqk', query, key) * decay.between
        out = contract('bhcqk,bhcke->bhcqe', scores, value)
        out += contract('bhcqd,bhcde->bhcqe', query * decay.from_begin[..., None], before)
        return chunks.State(after), join(chunks.rms(out))[:, :length].astype(v.dtype)

    def step(state, q, k, v, *gate_inputs):
        query, key, value = (x.astype(jnp.float32) for x in (q, k, v))
        kept = jnp.exp(chosen.log(v, *gate_inputs))[..., None, None]
        after = kept * state.key_value + key[..., :, None] * value[..., None, :]
        out = chunks.rms(jnp.einsum('bhd,bhde->bhe', query, after))
        return chunks.State(after), out.astype(v.dtype)

    def cost(length, heads, head_dim):
        pairs = chunks.num_pairs(length, chunks.even_length(length, chunk_size))
        # Per token: k v^T and S^T q. Per pair: a score and a scaled value.
        macs = length * 2 * head_dim**2 + pairs * 2 * head_dim
        numbers = 4 * length * head_dim + len(chosen.projections) * length + head_dim**2
        return Cost(macs=heads * macs, bytes=4 * heads * numbers)

    return recurrent(
        prefill,
        step,
        cost,
        at_length=lambda max_length: gated_linear(gate, chunk_size),
        projections=(QKV, *chosen.projections),
    )
