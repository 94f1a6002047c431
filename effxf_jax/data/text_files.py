"""The text format of Feng et al. (2023): one example per line, its tokens separated by spaces.

A file may come from anywhere. Each of its lines is either a valid example of the task or a bad line with a
reason. Reading takes bounded memory, whatever the file's size and content.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from effxf_jax.data.blocks import BLOCK_SIZE, DataError, generate, token_dtype
from effxf_jax.tasks import EOS, PAD, Task

# A line is too long beyond this many bytes, or twice the task's longest example if that is more.
_LEAST_LINE_LIMIT = 1 << 16
_SHOWN = 5


class BadLine(NamedTuple):
    """A line that is not a valid example: its number, counted from 1, and the reason."""

    number: int
    reason: str


class Lines(NamedTuple):
    """Consecutive lines of a file.

    Attributes:
        tokens: the valid examples in order, `[count, max_length]`, with dtype `token_dtype(task)`.
        bad: the bad lines in order.
    """

    tokens: np.ndarray
    bad: list[BadLine]


def read(path: str | os.PathLike, task: Task) -> Iterator[Lines]:
    """Reads a file, BLOCK_SIZE lines at a time.

    Raises:
        DataError: the file cannot be read.
    """
    longest = task.max_length * (1 + max(map(len, task.vocabulary.tokens)))
    with _opened(path) as file:
        start = 0
        while True:
            rows = [row for _ in range(BLOCK_SIZE) if (row := _next_row(file, task, longest)) is not None]
            if not rows:
                return
            yield _grade(task, rows, start)
            start += len(rows)


def load(path: str | os.PathLike, task: Task) -> np.ndarray:
    """Loads all examples of a file: `[count, max_length]`, with dtype `token_dtype(task)`.

    Raises:
        DataError: the file cannot be read, is empty, or has bad lines; the message names the first of them.
    """
    tokens, bad, bad_count = [], [], 0
    for lines in read(path, task):
        tokens.append(lines.tokens)
        bad += lines.bad[: _SHOWN - len(bad)]
        bad_count += len(lines.bad)
    if not tokens:
        raise DataError(f'{path} is empty; expected one line per example')
    if bad:
        shown = ''.join(f'; line {line.number}: {line.reason}' for line in bad)
        raise DataError(f'{path} has {bad_count:,} bad lines{shown}{"; ..." * (bad_count > len(bad))}')
    return np.concatenate(tokens)


def write(path: str | os.PathLike, task: Task, seed: int, split: str, count: int) -> None:
    """Writes the first `count` examples of a split to a file; an interrupted call leaves no file.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('w', encoding='utf-8') as file:
            for examples in generate(task, seed, split, count):
                file.writelines(task.decode_text(row) + '\n' for row in examples.tokens)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    return row if len(row) < task.max_length else task.diagnose(row)


def _grade(task: Task, rows: list[np.ndarray | str], start: int) -> Lines:
    """Grades consecutive lines, the first of which has the number start + 1."""
    tokens = np.full((len(rows), task.max_length), PAD, np.int32)
    for line, row in zip(tokens, rows, strict=True):
        if not isinstance(row, str):
            line[: len(row)] = row
            line[len(row)] = EOS
    right = task.grade(tokens, np.zeros(tokens.shape, bool)).chain_correct
    bad = [
        BadLine(start + i + 1, rows[i] if isinstance(rows[i], str) else task.diagnose(rows[i]))
        for i in np.flatnonzero(~right)
    ]
    return Lines(tokens[right].astype(token_dtype(task)), bad)
