"""Block-sparse softmax attention with the patterns "fixed" and "strided" of Child et al. (2019)."""

from effxf_jax.attention.fixed import fixed
from effxf_jax.attention.mechanism import Mechanism
from effxf_jax.attention.strided import strided

PATTERNS = ('fixed', 'strided')


def sparse(block_size: int | None = None, summary_size: int = 1, pattern: str = 'fixed') -> Mechanism:
    """Softmax attention to about one block of keys and a few keys of every earlier block, O(L sqrt(L)).

    'fixed', which the paper's Sparse Transformer is assumed to use: a query attends causally within its own
    block of `block_size` positions, and to the last `summary_size` positions of every earlier block.
    'strided': a query attends to the last `block_size` positions, and to every `block_size`-th position
    before them.
    Each head attends to the union of the positions that Child et al. divide between a pattern's two heads
    (their "merged" heads).

    Scores are computed for the pairs that the pattern keeps and, as in a dense causal kernel, for pairs that
    only causality excludes.

    Args:
        block_size: positions in a block, or the stride; None means the largest power of two <= sqrt(L),
            where L is the length given to `at_length` or, without it, the length of the call.
        summary_size: positions in a block's summary, at most block_size; must be 1 with 'strided'.
        pattern: 'fixed' or 'strided'.

    Raises:
        ValueError: an unknown pattern, a size below 1, a summary larger than its block, or a summary_size
            other than 1 with 'strided', which has no summaries.
    """
    if pattern not in PATTERNS:
        raise ValueError(f'pattern must be one of {", ".join(PATTERNS)}; got {pattern!r}')
    if summary_size < 1 or (block_size is not None and block_size < summary_size):
        raise ValueError(
            f'sparse attention requires 1 <= summary_size <= block_size; '
            f'got summary_size {summary_size}, block_size {block_size}'
        )
    if pattern == 'fixed':
        return fixed(block_size, summary_size)
    if summary_size != 1:
        raise ValueError(
            "summary_size must be 1 with the pattern 'strided', which has no summaries; "
            f'got summary_size {summary_size}'
        )
    return strided(block_size)
