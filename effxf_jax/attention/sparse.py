"""Block-sparse softmax attention with the patterns "fixed" and "strided" of Child et al. (2019)."""

from effxf_jax.attention.by_heads import by_heads
from effxf_jax.attention.fixed import fixed
from effxf_jax.attention.mechanism import Mechanism
from effxf_jax.attention.sliding_window import sliding_window
from effxf_jax.attention.strided import strided

PATTERNS = ('fixed', 'strided')
HEADS = ('merged', 'separate')


def sparse(
    block_size: int | None = None, summary_size: int = 1, pattern: str = 'fixed', heads: str = 'merged'
) -> Mechanism:
    """Softmax attention to about one block of keys and a few keys of every earlier block, O(L sqrt(L)).

    'fixed', which the paper's Sparse Transformer is assumed to use: a query attends causally within its own
    block of `block_size` positions, and to the last `summary_size` positions of every earlier block.
    'strided': a query attends to the last `block_size` positions, and to every `block_size`-th position
    before them.

    With 'merged' heads each head attends to the union of a pattern's two sets of positions. With 'separate'
    heads the first half of the heads attends to the near set (the own block, or the last positions), the
    other half to the far one (the summaries, or every block_size-th position) and to the query's own
    position. Child et al. (section 4.2) describe both.

    Scores are computed for the pairs that the pattern keeps and, as in a dense causal kernel, for pairs that
    only causality excludes.

    Args:
        block_size: positions in a block, or the stride; None means the largest power of two <= sqrt(L),
            where L is the length given to `at_length` or, without it, the length of the call.
        summary_size: positions in a block's summary, at most block_size; must be 1 with 'strided'.
        pattern: 'fixed' or 'strided'.
        heads: 'merged' or 'separate'.

    Raises:
        ValueError: an unknown pattern or value of `heads`, a size below 1, a summary larger than its block,
            or a summary_size other than 1 with 'strided', which has no summaries.
    """
    if pattern not in PATTERNS:
        raise ValueError(f'pattern must be one of {", ".join(PATTERNS)}; got {pattern!r}')
    if heads not in HEADS:
        raise ValueError(f'heads must be one of {", ".join(HEADS)}; got {heads!r}')
    if summary_size < 1 or (block_size is not None and block_size < summary_size):
        raise ValueError(
            f'sparse attention requires 1 <= summary_size <= block_size; '
            f'got summary_size {summary_size}, block_size {block_size}'
        )
    if pattern == 'fixed':
        merged = fixed(block_size, summary_size)
        if heads == 'merged':
            return merged
        near, far = (fixed(block_size, summary_size, part) for part in ('block', 'summaries'))
        return by_heads(near, far, merged)
    if summary_size != 1:
        raise ValueError(
            "summary_size must be 1 with the pattern 'strided', which has no summaries; "
            f'got summary_size {summary_size}'
        )
    merged = strided(block_size)
    if heads == 'merged':
        return merged
    near, far = sliding_window(block_size), strided(block_size, column_alone=True)
    return by_heads(near, far, merged)
