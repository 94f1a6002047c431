"""The text format of Feng et al. (2023): one example per line, its tokens separated by spaces.

A file may come from anywhere. Each of its lines is either a valid example of the task or a bad line with a
reason. Reading takes bounded memory, whatever the file's size and content.

A line may also be a prompt alone, as in their `chain/test_data.txt` of arithmetic and equations; it is
completed, so the answers in `test_ans.txt` are not read. A training file may be a mixture of sizes, as their
option `--under` makes it for arithmetic.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from effxf_jax.data import example_lines
from effxf_jax.data.blocks import BLOCK_SIZE, DataError, generate
from effxf_jax.data.example_lines import Lines
from effxf_jax.tasks import Task

# A line is too long beyond this many bytes, or twice the task's longest example if that is more.
_LEAST_LINE_LIMIT = 1 << 16


def read(path: str | os.PathLike, task: Task, mixture: bool = False) -> Iterator[Lines]:
    """Reads a file, BLOCK_SIZE lines at a time.

    Args:
        path: the file.
        task: the task of the examples.
        mixture: whether examples of the task's smaller sizes are valid, too.

    Raises:
        DataError: the file cannot be read, or the task's examples have several lines.
    """
    _check_has_single_lines(task)
    sizes = example_lines.sizes_of(task, mixture)
    longest = task.max_length * (1 + max(map(len, task.vocabulary.tokens)))
    with _opened(path) as file:
        start = 0
        while True:
            rows = [row for _ in range(BLOCK_SIZE) if (row := _next_row(file, task, longest)) is not None]
            if not rows:
                return
            yield example_lines.grade(sizes, rows, start)
            start += len(rows)


def load(path: str | os.PathLike, task: Task, mixture: bool = False) -> np.ndarray:
    """Loads all examples of a file: `[count, max_length]`, with dtype `token_dtype(task)`; see `read`.

    Raises:
        DataError: the file cannot be read, is empty, or has bad lines; the message names the first of them.
    """
    return example_lines.load(path, read(path, task, mixture))


def write(path: str | os.PathLike, task: Task, seed: int, split: str, count: int) -> None:
    """Writes the first `count` examples of a split to a file, which is there when it is complete.

    Raises:
        DataError: another process writes this file, or the task's examples have several lines.
        OSError: the file cannot be written.
    """
    _check_has_single_lines(task)
    blocks = generate(task, seed, split, count)
    example_lines.write(path, (task.decode_text(row) for examples in blocks for row in examples.tokens))


def _check_has_single_lines(task: Task) -> None:
    if '\n' in task.vocabulary.tokens:
        raise DataError(f"examples of {task} have several lines; their files have GSM8K's format")


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    try:
        with open(path, 'rb') as file:
            yield file
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}') from error


def _next_row(file: BinaryIO, task: Task, longest: int) -> np.ndarray | str | None:
    """The token ids of the next line, or the reason why it is bad, or None at the end of the file.

    `longest` is the number of bytes of the task's longest possible example.
    """
    limit = max(_LEAST_LINE_LIMIT, 2 * longest)
    line = file.readline(limit)
    if not line:
        return None
    if len(line) == limit and not line.endswith(b'\n'):
        while (rest := file.readline(limit)) and not rest.endswith(b'\n'):
            pass
        return f'too long: over {limit:,} bytes; an example of this task has at most {longest:,}'
    try:
        row = task.parse_text(line.decode('utf-8', errors='backslashreplace'))
    except ValueError as error:
        return str(error)
    if len(row) < task.max_length:
        return row
    # A right row may be too long, such as one with more brackets than are needed.
    return task.diagnose(row) or f'too long: {len(row)} tokens; the task has at most {task.max_length - 1}'
