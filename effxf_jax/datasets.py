"""Input pipelines: examples by index, in blocks that are functions of their number alone.

Examples of a split come in blocks of 1,024. Block b is a function of (task, seed, split, b) and of nothing
else: draw problems, keep those whose prompt hashes into the split, take the first 1,024. So example i does
not depend on batch size or host count, and a stream resumes at any step in constant time.
"""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from effxf_jax.tasks import Examples, Task
from effxf_jax.tasks.task import prompt_hash

# TensorFlow feeds data from the CPU; every accelerator is JAX's.
for _kind in ('GPU', 'TPU'):
    tf.config.set_visible_devices([], _kind)

BLOCK_SIZE = 1024
SPLITS = ('train', 'test')
TEST_ONE_IN = 16
"""A prompt belongs to the test split when its hash is divisible by this."""

# A block that is still empty after this many draws of its expected need belongs to an empty split.
_MOST_FRUITLESS_DRAWS = 16


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where training examples come from.

    Attributes:
        num_train_examples: None for an endless stream, in which (almost) every example is new; or the
            size of a fixed training set, gone through in a new random order each epoch (the paper: 10^6).

    Raises:
        ValueError: a set of no examples.
    """

    num_train_examples: int | None = None

    def __post_init__(self):
        if self.num_train_examples is not None and self.num_train_examples < 1:
            raise ValueError(f'num_train_examples must be at least 1, or None; got {self.num_train_examples}')


class Source(NamedTuple):
    """Examples by index.

    Attributes:
        read: `(indices int64 [count]) -> Examples`, with one row per index, in their order.
        num_examples: how many there are; None where they never end.
    """

    read: Callable[[np.ndarray], Examples]
    num_examples: int | None


def generate_block(task: Task, seed: int, split: str, block: int) -> Examples:
    """Block `block` of a split: BLOCK_SIZE examples.

    Raises:
        ValueError: an unknown split, or one that none of many prompts belong to.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {", ".join(SPLITS)}; got {split!r}')
    # The digest keeps the streams of two tasks apart; it is stable across processes, as hash() is not.
    digest = zlib.crc32(repr(task).encode())
    rng = np.random.default_rng([digest, seed, SPLITS.index(split), block])
    share = 1 / TEST_ONE_IN if split == 'test' else 1 - 1 / TEST_ONE_IN
    draw = int(1.1 * BLOCK_SIZE / share)
    kept, found = [], 0
    for attempt in itertools.count():
        if found >= BLOCK_SIZE:
            break
        if not found and attempt >= _MOST_FRUITLESS_DRAWS:
            raise ValueError(
                f'the {split} split of {task} is empty: none of {attempt * draw} prompts belongs to it, '
                'for the task has too few prompts; make it larger'
            )
        examples = task.encode(task.sample(rng, draw))
        in_test = prompt_hash(examples) % np.uint64(TEST_ONE_IN) == 0
        rows = np.flatnonzero(in_test == (split == 'test'))
        kept.append(Examples(*(x[rows] for x in examples)))
        found += len(rows)
    return Examples(*(np.concatenate(x)[:BLOCK_SIZE] for x in zip(*kept, strict=True)))


def generated(task: Task, seed: int, split: str, num_examples: int | None = None) -> Source:
    """Examples made when they are first asked for.

    A stream remembers only its latest blocks; a set of `num_examples` remembers all of them, in the
    smallest dtype that holds the vocabulary.
    """
    dtype = np.min_scalar_type(task.vocabulary.size - 1)

    @functools.lru_cache(maxsize=4 if num_examples is None else None)
    def block(number: int) -> Examples:
        tokens, given = generate_block(task, seed, split, number)
        return Examples(tokens.astype(dtype), given)

    def read(indices: np.ndarray) -> Examples:
        numbers, rows = np.divmod(indices, BLOCK_SIZE)
        tokens = np.empty((len(indices), task.max_length), np.int32)
        given = np.empty(tokens.shape, bool)
        for number in np.unique(numbers):
            here = numbers == number
            examples = block(int(number))
            tokens[here], given[here] = (x[rows[here]] for x in examples)
        return Examples(tokens, given)

    return Source(read, num_examples)


def batch_indices(
    step: int, batch_size: int, seed: int, num_examples: int | None, host: int = 0, hosts: int = 1
) -> np.ndarray:
    """The examples of one host's share of batch `step`, int64 `[batch_size / hosts]`.

    Batch k is examples k B ... (k + 1) B of the stream; with a fixed set, of its epochs laid end to end,
    each a permutation by (seed, epoch).
    """
    share = batch_size // hosts
    indices = step * batch_size + host * share + np.arange(share)
    if num_examples is None:
        return indices
    epochs, places = np.divmod(indices, num_examples)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        places[here] = _permutation(num_examples, seed, int(epoch))[places[here]]
    return places


@functools.lru_cache(maxsize=2)
def _permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def train_batches(
    source: Source, batch_size: int, seed: int, start_step: int = 0, host: int = 0, hosts: int = 1
) -> Iterator[Examples]:
    """Endless batches from step `start_step` on, prepared ahead of need by tf.data.

    Args:
        source: the examples.
        batch_size: examples in a batch, over all hosts; divisible by hosts.
        seed: of the epochs' permutations.
        start_step: the first batch's number; reaching it costs nothing.
        host, hosts: which share of each batch to yield.

    Yields:
        Examples with `batch_size / hosts` rows.
    """
    if batch_size % hosts:
        raise ValueError(f'batch_size must be divisible by {hosts} hosts; got {batch_size}')

    def read(step):
        return source.read(batch_indices(int(step), batch_size, seed, source.num_examples, host, hosts))

    def batch(step):
        tokens, given = tf.numpy_function(read, [step], [tf.int32, tf.bool])
        shape = (batch_size // hosts, None)
        return Examples(tf.ensure_shape(tokens, shape), tf.ensure_shape(given, shape))

    dataset = tf.data.Dataset.range(start_step, tf.int64.max).map(batch).prefetch(8)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1  # one thread is ample, and the cores are the model's
    return dataset.with_options(options).as_numpy_iterator()
