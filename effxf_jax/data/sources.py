"""Sources of examples.

A source returns examples by index. It generates them on demand, or reads a TensorFlow dataset or files.
"""

import contextlib
import dataclasses
import fcntl
import functools
import itertools
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from effxf_jax import registry
from effxf_jax.data import record_files, text_files
from effxf_jax.data.blocks import (
    BLOCK_SIZE,
    SPLITS,
    TEST_ONE_IN,
    DataError,
    generate_block,
    token_dtype,
)
from effxf_jax.data.dp_chains import DpChains
from effxf_jax.data.mixtures import check_has_sizes, generate_mixed_block
from effxf_jax.tasks import Examples, Task
from effxf_jax.tasks.task import prompt_hash

SOURCES = ('generated', 'tfds', 'text', 'gsm8k')
FORMATS = {'text': text_files, 'gsm8k': record_files}
"""The modules that read the files of a source."""

TRAIN_SIZES = ('single', 'mixture')

# If this many blocks of test problems in a row hold only problems of the training file, all test problems are
# taken to be in it.
_MOST_FRUITLESS_BLOCKS = 16


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where examples come from.

    Attributes:
        source: 'generated': generated on demand; 'tfds': the same examples in the same order, from the
            TensorFlow dataset `dp_chains`, which is prepared first if needed; 'text': read from text files;
            'gsm8k': read from files in GSM8K's format.
        num_train_examples: size of a fixed training set, read in a new random order each epoch (the paper:
            10^6). None: an endless stream of (almost always) new examples or, for other sources than
            'generated', all examples of the dataset or file.
        path: for 'tfds' the data directory, by default TFDS's own; for 'text' and 'gsm8k' the training file.
            A ~ at the start of a path is expanded.
        test_path: for 'text' and 'gsm8k' the file of test examples; its lines may be prompts alone in
            'text'. By default they are generated: the task's test split without the problems of the training
            file. If the task's problems are those of files, they are the examples of the training file that
            hash into the test split, which are not trained on.
        train_sizes: 'single': all training examples have the task's size; 'mixture': they have all sizes up
            to it, generated with size i in proportion to i, see `mixtures`, or as the file has them.
            Test examples have the task's size. Not for 'tfds'.

    Raises:
        ValueError: values are out of range or have no effect; the message names all of them.
    """

    source: str = 'generated'
    num_train_examples: int | None = None
    path: str | None = None
    test_path: str | None = None
    train_sizes: str = 'single'

    def __post_init__(self):
        registry.cast_fields(self)
        problems = []
        if self.source not in SOURCES:
            problems.append(f'source must be one of {", ".join(SOURCES)}; got {self.source!r}')
        if self.num_train_examples is not None and self.num_train_examples < 1:
            problems.append(f'num_train_examples must be at least 1, or None; got {self.num_train_examples}')
        readers = ', '.join(FORMATS)
        if self.source in FORMATS and self.path is None:
            problems.append(f'path must be given for source {self.source!r}')
        if self.source == 'generated' and self.path is not None:
            problems.append(f'path is read for the sources tfds, {readers} only; got {self.path!r}')
        if self.source not in FORMATS and self.test_path is not None:
            problems.append(f'test_path is read for the sources {readers} only; got {self.test_path!r}')
        if self.train_sizes not in TRAIN_SIZES:
            problems.append(f'train_sizes must be one of {", ".join(TRAIN_SIZES)}; got {self.train_sizes!r}')
        elif self.train_sizes == 'mixture' and self.source == 'tfds':
            problems.append(
                f"train_sizes 'mixture' requires one of the sources generated, {readers}; got 'tfds'"
            )
        if problems:
            raise ValueError('\n'.join(problems))


class Source(NamedTuple):
    """A source of examples.

    Attributes:
        read: `(indices int64 [count]) -> Examples`, with one row per index, in their order.
        num_examples: number of examples; None for an endless source.
    """

    read: Callable[[np.ndarray], Examples]
    num_examples: int | None


class Sources(NamedTuple):
    """The sources of both splits."""

    train: Source
    test: Source


def open_sources(config: DataConfig, task: Task, seed: int) -> Sources:
    """Opens the sources that a configuration describes.

    Raises:
        DataError: a split of the task is empty, a file is invalid, or there are too few examples.
        OSError: a TensorFlow dataset cannot be read or written.
    """
    paths = {name: getattr(config, name) for name in ('path', 'test_path')}
    config = dataclasses.replace(config, **{n: p and os.path.expanduser(p) for n, p in paths.items()})
    if config.source == 'tfds' and task.of_files:
        raise DataError(f"source 'tfds' needs a task that makes its problems; got {task}")
    if config.train_sizes == 'mixture':
        check_has_sizes(task)
    if config.source == 'generated':
        for split in SPLITS:  # raises now if a split is empty
            generate_block(task, seed, split, 0)
        if config.train_sizes == 'mixture':
            train = mixed(task, seed, config.num_train_examples)
        else:
            train = generated(task, seed, 'train', config.num_train_examples)
        return Sources(train, generated(task, seed, 'test'))
    if config.source == 'tfds':
        train, test = (prepared(task, seed, split, config.path) for split in SPLITS)
        return Sources(_first(train, config.num_train_examples, 'the TensorFlow dataset'), test)
    files = FORMATS[config.source]
    tokens = files.load(config.path, task, config.train_sizes == 'mixture')
    if config.test_path is not None:
        test = files.load(config.test_path, task)
        _check_disjoint(task, config, tokens, test)
        sources = Sources(_in_memory(task, tokens), _in_memory(task, test))
    elif task.of_files:
        sources = _split(task, config, tokens)
    else:
        sources = Sources(_in_memory(task, tokens), _unseen(task, seed, tokens))
    return sources._replace(train=_first(sources.train, config.num_train_examples, config.path))


def generated(task: Task, seed: int, split: str, num_examples: int | None = None) -> Source:
    """A source that generates examples when they are first read.

    An endless source keeps its latest blocks in memory, a source of `num_examples` all of them.
    """
    make = lambda number: generate_block(task, seed, split, number)
    return Source(_by_blocks(task, make, 4 if num_examples is None else None), num_examples)


def mixed(task: Task, seed: int, num_examples: int | None = None) -> Source:
    """A source of training examples of all sizes up to a task's, generated when they are first read.

    No prompt of a smaller size occurs twice among `num_examples`, or within a block of an endless source.
    """
    if num_examples is None:
        make = lambda number: generate_mixed_block(task, seed, number)
        return Source(_by_blocks(task, make, remembered=4), None)
    seen, blocks = set(), []

    def make(number):
        while len(blocks) <= number:
            tokens, given = generate_mixed_block(task, seed, len(blocks), seen)
            blocks.append(Examples(tokens.astype(token_dtype(task)), given))
        return blocks[number]

    return Source(_by_blocks(task, make), num_examples)


def prepared(task: Task, seed: int, split: str, data_dir: str | None = None) -> Source:
    """A source that reads the TensorFlow dataset `dp_chains`, which is prepared first if needed.

    Raises:
        OSError: the dataset cannot be read or written.
    """
    builder = DpChains.of(task, seed, data_dir=data_dir)
    if not builder.is_prepared():
        with _preparation_lock(builder):
            builder = DpChains.of(task, seed, data_dir=data_dir)  # another process may have prepared it
            _remove_leftovers(builder)
            builder.download_and_prepare()
    records = builder.as_data_source(split)

    make = lambda number: builder.read_block(records, number)
    return Source(_by_blocks(task, make), len(records))


@contextlib.contextmanager
def _preparation_lock(builder: DpChains) -> Iterator[None]:
    """Locks a dataset, since several hosts or cells of a sweep may prepare the same one at once."""
    if '://' in str(builder.data_path):  # remote files cannot be locked
        yield
        return
    root = Path(builder.data_path).parents[2]  # of name/config/version
    root.mkdir(parents=True, exist_ok=True)
    with (root / f'.{builder.name}-{builder.builder_config.name}.lock').open('w', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(builder: DpChains) -> None:
    """Removes what processes that were killed while they prepared a dataset have left; it must be locked."""
    if '://' not in str(builder.data_path):
        path = Path(builder.data_path)
        for left in path.parent.glob(f'incomplete.*_{path.name}'):
            shutil.rmtree(left, ignore_errors=True)


def digest(source: Source) -> str:
    """A digest of a source: the number of its examples and a checksum of the first ones."""
    count = min(BLOCK_SIZE, source.num_examples or BLOCK_SIZE)
    examples = source.read(np.arange(count))
    return f'{source.num_examples}:{zlib.crc32(b"".join(x.tobytes() for x in examples)):08x}'


def _by_blocks(
    task: Task, make: Callable[[int], Examples], remembered: int | None = None
) -> Callable[[np.ndarray], Examples]:
    """A function that reads examples by index from blocks.

    Args:
        task: the task of the examples.
        make: returns a block by its number.
        remembered: how many blocks stay in memory; None for all.
    """
    dtype = token_dtype(task)

    @functools.lru_cache(maxsize=remembered)
    def block(number: int) -> Examples:
        tokens, given = make(number)
        return Examples(tokens.astype(dtype, copy=False), given)

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
    """A source of valid rows `[count, max_length]` in memory."""

    def read(indices: np.ndarray) -> Examples:
        rows = tokens[indices].astype(np.int32)
        return Examples(rows, task.given(rows))

    return Source(read, len(tokens))


def _check_disjoint(task: Task, config: DataConfig, train: np.ndarray, test: np.ndarray) -> None:
    """Warns if a file of test examples has problems of the training file.

    Raises:
        DataError: it has no others.
    """
    in_training = np.isin(_prompt_hashes(task, test), _prompt_hashes(task, train))
    if in_training.all():
        raise DataError(
            f'all problems of {config.test_path} are in {config.path}, too; '
            'test_path must have problems that are not trained on'
        )
    if in_training.any():
        count = f'{in_training.sum():,} of the {len(test):,}'
        logging.warning('%s problems of %s are in %s, too.', count, config.test_path, config.path)


def _prompt_hashes(task: Task, rows: np.ndarray) -> np.ndarray:
    """The hashes of the prompts of valid rows `[count, max_length]`, uint64 `[count]`."""
    blocks = np.array_split(rows, -(-len(rows) // BLOCK_SIZE))
    return np.concatenate([prompt_hash(Examples(block, task.given(block))) for block in blocks])


def _split(task: Task, config: DataConfig, tokens: np.ndarray) -> Sources:
    """Both sources from the rows of one file, `[count, max_length]`; a prompt's hash decides, as in `blocks`.

    Raises:
        DataError: one of them is empty.
    """
    in_test = _prompt_hashes(task, tokens) % np.uint64(TEST_ONE_IN) == 0
    if in_test.all() or not in_test.any():
        raise DataError(
            f'{in_test.sum():,} of the {len(tokens):,} examples of {config.path} belong to the test split; '
            'give test_path'
        )
    return Sources(_in_memory(task, tokens[~in_test]), _in_memory(task, tokens[in_test]))


def _unseen(task: Task, seed: int, seen: np.ndarray) -> Source:
    """The examples of the test split whose prompts do not occur in the rows `seen`, `[count, max_length]`."""
    test = generated(task, seed, 'test')
    seen_hashes = _prompt_hashes(task, seen)
    places: list[int] = []  # indices of unseen examples in the split
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
                    f'all problems of the test split of {task} are in the training file; give test_path'
                )
        return test.read(np.array(places)[indices])

    read(np.zeros(1, int))  # raises now if the file holds all of them
    return Source(read, None)


def _first(source: Source, count: int | None, name: str) -> Source:
    """The first `count` examples of a finite source; all of them if `count` is None."""
    if count is None:
        return source
    if count > source.num_examples:
        most = f'{source.num_examples:,}, the number of examples in {name}'
        raise DataError(f'num_train_examples must be at most {most}; got {count:,}')
    return source._replace(num_examples=count)
