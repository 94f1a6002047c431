"""What mechanisms share whose memory is one matrix a head."""

from collections.abc import Callable

import jax

from effxf_jax.attention.kernels import chunks
from effxf_jax.attention.kernels.layout import check_qkv
from effxf_jax.attention.mechanism import Cost, Mechanism, Memory, Projection


def recurrent(
    prefill: Callable[..., tuple[chunks.State, jax.Array]],
    step: Callable[..., tuple[chunks.State, jax.Array]],
    cost: Callable[[int, int, int], Cost],
    at_length: Callable[[int], Mechanism],
    projections: tuple[Projection, ...],
) -> Mechanism:
    """A mechanism with a `chunks.State`, given its forms that continue one; see `Mechanism`.

    Over a whole sequence it attends as it would continue the empty state.
    """

    def attend(q, k, v, *others):
        check_qkv(q, k, v)
        batch, length, heads, head_dim = q.shape
        empty = chunks.empty_state(batch, length, heads, head_dim, v.dtype)
        return prefill(empty, q, k, v, *others)[1]

    return Mechanism(
        attend=attend,
        init_cache=chunks.empty_state,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=lambda length: Memory('the prefix state', None),
        complexity='L(C + D/H)D',
        state_size=lambda length, heads, head_dim: heads * head_dim**2,
        at_length=at_length,
        projections=projections,
        matrices=('key_value',),
    )
