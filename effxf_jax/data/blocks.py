"""Examples by index, generated in blocks of 1,024.

Block b is a function of (task, seed, split, b) alone: draw problems, keep those whose prompts hash into the
split, take the first 1,024. So example i does not depend on batch size, host count or source, and the splits
are disjoint however many examples are drawn.
"""

import itertools
import zlib
from collections.abc import Iterator

import numpy as np

from effxf_jax.tasks import Examples, Task
from effxf_jax.tasks.task import prompt_hash

BLOCK_SIZE = 1024
SPLITS = ('train', 'test')
TEST_ONE_IN = 16
"""A prompt belongs to the test split if its hash is divisible by this number."""

# A split is empty if this many draws yield no example; one draw is expected to fill a block.
_MOST_FRUITLESS_DRAWS = 16


class DataError(ValueError):
    """The requested examples are not available."""


def generate_block(task: Task, seed: int, split: str, block: int) -> Examples:
    """Generates block `block` of a split: BLOCK_SIZE examples.

    Raises:
        ValueError: the split is unknown.
        DataError: the split is empty: the task has too few prompts.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {", ".join(SPLITS)}; got {split!r}')
    # The digest gives every task its own random stream. Unlike hash(), it is the same in every process.
    digest = zlib.crc32(task.stream_key.encode())
    rng = np.random.default_rng([digest, seed, SPLITS.index(split), block])
    share = 1 / TEST_ONE_IN if split == 'test' else 1 - 1 / TEST_ONE_IN
    draw = int(1.1 * BLOCK_SIZE / share)
    kept, found = [], 0
    for attempt in itertools.count():
        if found >= BLOCK_SIZE:
            break
        if not found and attempt >= _MOST_FRUITLESS_DRAWS:
            raise DataError(
                f'the {split} split of {task} is empty: none of {attempt * draw} prompts belongs to it. '
                'The task has too few prompts; make it larger'
            )
        examples = task.encode(task.sample(rng, draw))
        in_test = prompt_hash(examples) % np.uint64(TEST_ONE_IN) == 0
        rows = np.flatnonzero(in_test == (split == 'test'))
        kept.append(Examples(*(x[rows] for x in examples)))
        found += len(rows)
    return Examples(*(np.concatenate(x)[:BLOCK_SIZE] for x in zip(*kept, strict=True)))


def generate(task: Task, seed: int, split: str, count: int) -> Iterator[Examples]:
    """Yields the first `count` examples of a split, block by block; the last block may be short."""
    for start in range(0, count, BLOCK_SIZE):
        block = generate_block(task, seed, split, start // BLOCK_SIZE)
        yield Examples(*(x[: count - start] for x in block))


def token_dtype(task: Task) -> np.dtype:
    """The smallest dtype that holds a task's token ids."""
    return np.min_scalar_type(task.vocabulary.size - 1)
