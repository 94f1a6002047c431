"""Where examples come from.

A source gives examples by index: generated when they are asked for, from a prepared TensorFlow dataset, or
from text files.
"""

import contextlib
import dataclasses
import fcntl
import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from effxf_jax.data import text_files
from effxf_jax.data.blocks import BLOCK_SIZE, SPLITS, DataError, generate_block, token_dtype
from effxf_jax.data.dp_chains import DpChains
from effxf_jax.tasks import Examples, Task
from effxf_jax.tasks.task import prompt_hash

SOURCES = ('generated', 'tfds', 'text')

# So many blocks of test problems, one after another, in which all stand in a file mean that all there are do.
_MOST_FRUITLESS_BLOCKS = 16


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where examples come from.

    Attributes:
        source: 'generated' as they are asked for; 'tfds', the very same examples in the same order from the
            TensorFlow dataset `dp_chains`, which is prepared if it is not yet; or 'text', from files.
        num_train_examples: the size of a fixed training set, gone through in a new random order each epoch
            (the paper: 10^6). None is an endless stream of (almost always) new examples, or all that a
            TensorFlow dataset or a file holds.
        path: for 'tfds' the data directory, by default TFDS's own; for 'text' the file to train on.
        test_path: for 'text' a file of test examples. By default they are those of the task's test split
            that do not stand in the other file.

    Raises:
        ValueError: naming every value that is out of range or means nothing.
    """

    source: str = 'generated'
    num_train_examples: int | None = None
    path: str | None = None
    test_path: str | None = None

    def __post_init__(self):
        problems = []
        if self.source not in SOURCES:
            problems.append(f'source must be one of {", ".join(SOURCES)}; got {self.source!r}')
        if self.num_train_examples is not None and self.num_train_examples < 1:
            problems.append(f'num_train_examples must be at least 1, or None; got {self.num_train_examples}')
        if self.source == 'text' and self.path is None:
            problems.append("path must be given for source 'text'")
        if self.source == 'generated' and self.path is not None:
            problems.append(f"path is read for source 'tfds' or 'text' only; got {self.path!r}")
        if self.source != 'text' and self.test_path is not None:
            problems.append(f"test_path is read for source 'text' only; got {self.test_path!r}")
        if problems:
            raise ValueError('\n'.join(problems))


class Source(NamedTuple):
    """Examples by index.

    Attributes:
        read: `(indices int64 [count]) -> Examples`, with one row per index, in their order.
        num_examples: how many there are; None where they never end.
    """

    read: Callable[[np.ndarray], Examples]
    num_examples: int | None


class Sources(NamedTuple):
    """The examples of both splits."""

    train: Source
    test: Source


def open_sources(config: DataConfig, task: Task, seed: int) -> Sources:
    """The examples that a configuration asks for.

    Raises:
        DataError: they are not there: a split of the task is empty, a file bad, or a set too small.
        OSError: a TensorFlow dataset cannot be read or written.
    """
    if config.source == 'generated':
        for split in SPLITS:  # a task too small for its splits is found now
            generate_block(task, seed, split, 0)
        return Sources(
            generated(task, seed, 'train', config.num_train_examples), generated(task, seed, 'test')
        )
    if config.source == 'tfds':
        train, test = (prepared(task, seed, split, config.path) for split in SPLITS)
        return Sources(_first(train, config.num_train_examples, 'the TensorFlow dataset'), test)
    tokens = text_files.load(config.path, task)
    train = _first(_in_memory(task, tokens), config.num_train_examples, config.path)
    if config.test_path is not None:
        return Sources(train, _in_memory(task, text_files.load(config.test_path, task)))
    return Sources(train, _unseen(task, seed, tokens))


def generated(task: Task, seed: int, split: str, num_examples: int | None = None) -> Source:
    """Examples made when they are first asked for.

    A stream remembers only its latest blocks; a set of `num_examples` remembers all of them.
    """
    make = lambda number: generate_block(task, seed, split, number)
    return Source(_by_blocks(task, make, 4 if num_examples is None else None), num_examples)


def prepared(task: Task, seed: int, split: str, data_dir: str | None = None) -> Source:
    """The examples of the TensorFlow dataset `dp_chains`, prepared first if they are not yet.

    Raises:
        OSError: it cannot be read or written.
    """
    builder = DpChains.of(task, seed, data_dir=data_dir)
    if not builder.is_prepared():
        with _alone_with(builder):
            builder = DpChains.of(task, seed, data_dir=data_dir)  # which another may have prepared by now
            builder.download_and_prepare()
    records = builder.as_data_source(split)

    make = lambda number: builder.read_block(records, number)
    return Source(_by_blocks(task, make), len(records))


@contextlib.contextmanager
def _alone_with(builder: DpChains) -> Iterator[None]:
    """Waits while another process is in: hosts, or cells of a sweep, may want one dataset at once."""
    if '://' in str(builder.data_path):  # where files cannot be locked
        yield
        return
    root = Path(builder.data_path).parents[2]  # of name/config/version
    root.mkdir(parents=True, exist_ok=True)
    with (root / f'.{builder.name}-{builder.builder_config.name}.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(source: Source) -> str:
    """By which two sources are told apart: of how many examples there are, and of the first ones."""
    count = min(BLOCK_SIZE, source.num_examples or BLOCK_SIZE)
    examples = source.read(np.arange(count))
    return f'{source.num_examples}:{zlib.crc32(b"".join(x.tobytes() for x in examples)):08x}'


def _by_blocks(
    task: Task, make: Callable[[int], Examples], remembered: int | None = None
) -> Callable[[np.ndarray], Examples]:
    """Reads examples by index from blocks that `make` makes by number, of which `remembered` are kept."""
    dtype = token_dtype(task)

    @functools.lru_cache(maxsize=remembered)
    def block(number: int) -> Examples:
        tokens, given = make(number)
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

    return read


def _in_memory(task: Task, tokens: np.ndarray) -> Source:
    """Right rows `[count, max_length]` as a source."""

    def read(indices: np.ndarray) -> Examples:
        rows = tokens[indices].astype(np.int32)
        return Examples(rows, task.given(rows))

    return Source(read, len(tokens))


def _unseen(task: Task, seed: int, seen: np.ndarray) -> Source:
    """The examples of the test split whose prompts are not those of rows `[count, max_length]`."""
    test = generated(task, seed, 'test')
    seen_hashes = np.concatenate(
        [
            prompt_hash(Examples(rows, task.given(rows)))
            for rows in np.array_split(seen, -(-len(seen) // BLOCK_SIZE))
        ]
    )
    places: list[int] = []  # in the split, of those not seen
    blocks = itertools.count()

    def read(indices: np.ndarray) -> Examples:
        fruitless = 0
        while len(places) <= indices.max():
            candidates = next(blocks) * BLOCK_SIZE + np.arange(BLOCK_SIZE)
            found = candidates[~np.isin(prompt_hash(test.read(candidates)), seen_hashes)]
            places.extend(found)
            fruitless = 0 if found.size else fruitless + 1
            if fruitless == _MOST_FRUITLESS_BLOCKS:
                raise DataError(
                    f'all problems of the test split of {task} stand in the training file; give test_path'
                )
        return test.read(np.array(places)[indices])

    read(np.zeros(1, int))  # a file that holds all of them is found now
    return Source(read, None)


def _first(source: Source, count: int | None, name: str) -> Source:
    """The first `count` examples of a finite source; all of them for None."""
    if count is None:
        return source
    if count > source.num_examples:
        most = f'{source.num_examples:,}, the examples of {name}'
        raise DataError(f'num_train_examples must be at most {most}; got {count:,}')
    return source._replace(num_examples=count)
