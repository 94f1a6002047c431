"""Block-sparse softmax attention after Child et al. (2019): their "fixed" and their "strided" pattern."""

from effxf_jax.attention.fixed import fixed
from effxf_jax.attention.mechanism import Mechanism
from effxf_jax.attention.strided import strided

PATTERNS = ('fixed', 'strided')


def sparse(block_size: int | None = None, summary_size: int = 1, pattern: str = 'fixed') -> Mechanism:
    """Softmax attention over about a block of keys and a few of every earlier block, O(L sqrt(L)) in all.

    'fixed', which the paper's Sparse Transformer is taken to use: a query attends causally within its own
    block of `block_size` positions, and to the last `summary_size` positions of every earlier block.
    'strided': to the last `block_size` positions, and to every `block_size`-th position before them.
    A head attends to the union of what Child et al. call a pattern's two heads (their "merged" heads).

    Scores are computed for the pairs that the pattern keeps and, as in a dense causal kernel, for those that
    it would keep were they not in the future.

    Args:
        block_size: positions in a block, or the stride; None means the largest power of two <= sqrt(L),
            where L is the length given to `at_length`, or else the length of the call.
        summary_size: positions in a block's summary, at most block_size; for 'fixed' only.
        pattern: one of PATTERNS.

    Raises:
        ValueError: an unknown pattern, a size that is not positive, a summary larger than its block, or more
            than one position of it for 'strided', which has none.
    """
    if pattern not in PATTERNS:
        raise ValueError(f'pattern must be one of {", ".join(PATTERNS)}; got {pattern!r}')
    if summary_size < 1 or (block_size is not None and block_size < summary_size):
        raise ValueError(
            f'sparse attention needs 1 <= summary_size <= block_size; '
            f'got summary_size {summary_size}, block_size {block_size}'
        )
    if pattern == 'fixed':
        return fixed(block_size, summary_size)
    if summary_size != 1:
        raise ValueError(f"the pattern 'strided' has no summaries; got summary_size {summary_size}")
    return strided(block_size)
