"""What the mechanisms that compute softmax attention under a block mask share."""

import math
from collections.abc import Callable

from effxf_jax.attention.kernels import block_sparse
from effxf_jax.attention.kernels.block_sparse import BlockMask
from effxf_jax.attention.mechanism import Mechanism, Memory, cost_of_pairs, keys_and_values


def mechanism(
    mask_for: Callable[[int], BlockMask],
    pairs: Callable[[int], int],
    at_length: Callable[[int], Mechanism],
    init_cache,
    step,
    prefill,
    memory: Callable[[int], Memory],
    complexity: str,
    span: str,
    block_size: int | None = None,
) -> Mechanism:
    """Makes a mechanism that computes softmax attention under a block mask.

    Args:
        mask_for: `(length) -> BlockMask`.
        pairs: `(length) -> int`, the number of query-key pairs that the mask keeps; see `kept_pairs`.
        at_length, init_cache, step, prefill, memory, complexity, block_size: fields of `Mechanism`.
    """
    return Mechanism(
        attend=lambda q, k, v: block_sparse.attend(q, k, v, mask_for(q.shape[1])),
        init_cache=init_cache,
        step=step,
        prefill=prefill,
        cost=lambda length, heads, head_dim: cost_of_pairs(pairs(length), length, heads, head_dim),
        memory=memory,
        state_size=keys_and_values(memory),
        complexity=complexity,
        at_length=at_length,
        block_size=block_size,
        span=span,
    )


def kept_pairs(length: int, block_size: int, before: bool, earlier: int, within: int | None = None) -> int:
    """Counts the query-key pairs that a block mask keeps.

    Args:
        length: positions in the sequence.
        block_size: positions in a block.
        before: whether the mask also keeps the end of the preceding block, so that a query sees `block_size`
            positions in total.
        earlier: how many positions of every earlier block the mask keeps in addition.
        within: how many of the last positions of the own block a query sees, up to itself, besides itself;
            None: all.
    """
    blocks, rest = divmod(length, block_size)
    first = 0 if within is None else block_size - within  # of the positions that later queries see

    def of_block(positions: int) -> int:
        seen = max(positions - first, 0)
        return positions + seen * (seen - 1) // 2

    own = blocks * of_block(block_size) + of_block(rest)
    # The query at offset i sees block_size - 1 - i positions of the preceding block.
    of_rest = rest * (block_size - 1) - rest * (rest - 1) // 2
    window = max(blocks - 1, 0) * (block_size * (block_size - 1) // 2) + (blocks > 0) * of_rest
    return own + before * window + earlier * (blocks * (blocks - 1) // 2 * block_size + blocks * rest)


def capped_sum(count: int, most: int) -> int:
    """The sum of 0, 1, 2 ... over `count` terms, none of which exceeds `most`."""
    rising = min(count, most)
    return rising * (rising - 1) // 2 + (count - rising) * most


def default_block_size(length: int) -> int:
    """The largest power of two <= sqrt(length)."""
    return 2 ** int(math.log2(math.isqrt(length)))
