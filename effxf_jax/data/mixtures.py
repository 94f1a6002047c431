"""Training examples of several sizes of one task.

The documented command of Feng et al. for arithmetic (`--under`) trains on the sizes 1 ... n, size i in
proportion to i, drops duplicates, adds examples of size n in their place, and tests at n alone [feng]. Here
every task has such a mixture: of the sizes up to its own at which it exists.
"""

import dataclasses
import zlib

import numpy as np

from effxf_jax.data.blocks import BLOCK_SIZE, TEST_ONE_IN, DataError, generate_block
from effxf_jax.tasks import PAD, Examples, Task
from effxf_jax.tasks.task import prompt_hash


def check_has_sizes(task: Task) -> None:
    """Refuses a task whose problems exist at one size.

    Raises:
        DataError: its problems are those of files.
    """
    if task.of_files:
        raise DataError(f"train_sizes 'mixture' needs a task of several sizes; got {task}")


def smaller_sizes(task: Task) -> list[Task]:
    """The task at every smaller size at which it exists, in ascending order.

    Raises:
        DataError: its problems are those of files.
    """
    check_has_sizes(task)
    found = []
    for size in range(1, getattr(task, task.size_option)):
        try:
            found.append(dataclasses.replace(task, **{task.size_option: size}))
        except ValueError:  # it does not exist at this size
            continue
    return found


def generate_mixed_block(task: Task, seed: int, block: int, seen: set[int] | None = None) -> Examples:
    """Generates block `block` of the mixture's training examples: BLOCK_SIZE rows `[BLOCK_SIZE, max_length]`.

    A row is of size i with a probability in proportion to i. An example of a smaller size is replaced by one
    of the task's own size if its prompt belongs to the test split or has been seen.

    Args:
        task: the task at the largest size.
        seed: the seed of the examples.
        block: the block's number.
        seen: hashes of the smaller sizes' prompts that must not occur again; this block's are added. By
            default only repetitions within the block are replaced.

    Raises:
        DataError: the training split of the task is empty.
    """
    seen = set() if seen is None else seen
    examples = generate_block(task, seed, 'train', block)
    sizes = [*smaller_sizes(task), task]
    weights = np.array([getattr(part, task.size_option) for part in sizes], float)
    rng = np.random.default_rng([zlib.crc32(f'sizes up to {task.stream_key}'.encode()), seed, block])
    drawn = rng.choice(len(sizes), BLOCK_SIZE, p=weights / weights.sum())
    for number, part in enumerate(sizes[:-1]):
        rows = np.flatnonzero(drawn == number)
        smaller = _in_form_of(task, part, part.encode(part.sample(rng, len(rows))))
        for row, hashed, *example in zip(rows, prompt_hash(smaller).tolist(), *smaller, strict=True):
            if hashed % TEST_ONE_IN and hashed not in seen:
                seen.add(hashed)
                examples.tokens[row], examples.given[row] = example
    return examples


def translate(tokens: np.ndarray, of: Task, to: Task) -> np.ndarray:
    """Token ids of one task as ids of another, of the same shape; `<pad>` for tokens that it lacks."""
    ids = to.vocabulary.ids()
    return np.array([ids.get(token, PAD) for token in of.vocabulary.tokens], np.int32)[tokens]


def _in_form_of(task: Task, smaller: Task, examples: Examples) -> Examples:
    """Examples of a smaller size with the token ids and the row length of a task."""
    padding = ((0, 0), (0, task.max_length - smaller.max_length))
    tokens = translate(examples.tokens, smaller, task)
    return Examples(np.pad(tokens, padding), np.pad(examples.given, padding))
