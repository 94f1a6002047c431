"""Mechanisms that are softmax attention under a block mask: what they have in common."""

import math
from collections.abc import Callable

from effxf_jax.attention.kernels import block_sparse
from effxf_jax.attention.kernels.block_sparse import BlockMask
from effxf_jax.attention.mechanism import Cost, Mechanism, Memory, keys_and_values


def mechanism(
    mask_for: Callable[[int], BlockMask],
    pairs: Callable[[int], int],
    at_length: Callable[[int], Mechanism],
    init_cache,
    step,
    prefill,
    memory: Callable[[int], Memory],
    complexity: str,
    block_size: int | None = None,
) -> Mechanism:
    """A mechanism of a block mask; the rest as in `Mechanism`.

    Args:
        mask_for: the mask by length.
        pairs: how many pairs of query and key it keeps, by length; see `kept_pairs`.
    """

    def cost(length: int, heads: int, head_dim: int) -> Cost:
        # Of each kept pair a dot product, and a scaled value.
        return Cost(macs=2 * pairs(length) * heads * head_dim, bytes=4 * 4 * length * heads * head_dim)

    return Mechanism(
        attend=lambda q, k, v: block_sparse.attend(q, k, v, mask_for(q.shape[1])),
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=cost,
        memory=memory,
        state_size=keys_and_values(memory),
        complexity=complexity,
        at_length=at_length,
        block_size=block_size,
    )


def kept_pairs(length: int, block_size: int, before: bool, earlier: int) -> int:
    """Pairs of a mask that keeps, of a query's own block, all that is not in the future.

    Args:
        length: positions.
        block_size: of the mask.
        before: whether it keeps of the block before what makes `block_size` positions in all.
        earlier: how many positions of every earlier block it keeps, besides.
    """
    blocks, rest = divmod(length, block_size)
    own = blocks * (block_size * (block_size + 1) // 2) + rest * (rest + 1) // 2
    # A query at place i sees block_size - 1 - i of the block before.
    of_rest = rest * (block_size - 1) - rest * (rest - 1) // 2
    window = max(blocks - 1, 0) * (block_size * (block_size - 1) // 2) + (blocks > 0) * of_rest
    return own + before * window + earlier * (blocks * (blocks - 1) // 2 * block_size + blocks * rest)


def default_block_size(length: int) -> int:
    """The largest power of two <= sqrt(length)."""
    return 2 ** int(math.log2(math.isqrt(length)))
