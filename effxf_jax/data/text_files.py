"""The text format of Feng et al. (2023): one example per line, its tokens separated by spaces.

A file may come from anywhere. Each of its lines is either a valid example of the task or a bad line with a
reason. Reading takes bounded memory, whatever the file's size and content.

A line may also be a prompt alone, as in their `chain/test_data.txt` of arithmetic and equations; it is
completed, so the answers in `test_ans.txt` are not read. A training file may be a mixture of sizes, as their
option `--under` makes it for arithmetic.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from absl import logging

from effxf_jax.data.blocks import BLOCK_SIZE, DataError, generate, token_dtype
from effxf_jax.data.mixtures import smaller_sizes, translate
from effxf_jax.tasks import EOS, PAD, Task
from effxf_jax.tasks.task import row_length

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
        completed: how many of the valid examples were prompts alone.
    """

    tokens: np.ndarray
    bad: list[BadLine]
    completed: int


def read(path: str | os.PathLike, task: Task, mixture: bool = False) -> Iterator[Lines]:
    """Reads a file, BLOCK_SIZE lines at a time.

    Args:
        path: the file.
        task: the task of the examples.
        mixture: whether examples of the task's smaller sizes are valid, too.

    Raises:
        DataError: the file cannot be read.
    """
    sizes = [task, *reversed(smaller_sizes(task))] if mixture else [task]
    longest = task.max_length * (1 + max(map(len, task.vocabulary.tokens)))
    with _opened(path) as file:
        start = 0
        while True:
            rows = [row for _ in range(BLOCK_SIZE) if (row := _next_row(file, task, longest)) is not None]
            if not rows:
                return
            yield _grade(sizes, rows, start)
            start += len(rows)


def load(path: str | os.PathLike, task: Task, mixture: bool = False) -> np.ndarray:
    """Loads all examples of a file: `[count, max_length]`, with dtype `token_dtype(task)`; see `read`.

    Raises:
        DataError: the file cannot be read, is empty, or has bad lines; the message names the first of them.
    """
    tokens, bad, bad_count, completed = [], [], 0, 0
    for lines in read(path, task, mixture):
        tokens.append(lines.tokens)
        bad += lines.bad[: _SHOWN - len(bad)]
        bad_count += len(lines.bad)
        completed += lines.completed
    if not tokens:
        raise DataError(f'{path} is empty; expected one line per example')
    if bad:
        shown = ''.join(f'; line {line.number}: {line.reason}' for line in bad)
        raise DataError(f'{path} has {bad_count:,} bad lines{shown}{"; ..." * (bad_count > len(bad))}')
    if completed:
        logging.warning('%s: %s lines are prompts alone; their chains are computed.', path, f'{completed:,}')
    return np.concatenate(tokens)


def write(path: str | os.PathLike, task: Task, seed: int, split: str, count: int) -> None:
    """Writes the first `count` examples of a split to a file, which is there when it is complete.

    Raises:
        DataError: another process writes this file.
        OSError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.tmp')  # the next call writes over what a killed one has left
    with temporary.open('a', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(file.fileno()), temporary.stat())
        except (BlockingIOError, FileNotFoundError):  # or the other has just finished
            is_ours = False
        if not is_ours:
            raise DataError(f'another process is writing {path}')
        try:
            file.truncate(0)
            for examples in generate(task, seed, split, count):
                file.writelines(task.decode_text(row) + '\n' for row in examples.tokens)
            file.flush()
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
    if len(row) < task.max_length:
        return row
    # A right row may be too long, such as one with more brackets than are needed.
    return task.diagnose(row) or f'too long: {len(row)} tokens; the task has at most {task.max_length - 1}'


def _grade(sizes: list[Task], rows: list[np.ndarray | str], start: int) -> Lines:
    """Grades consecutive lines, the first of which has the number start + 1.

    Args:
        sizes: the task, and the smaller sizes of it that are valid, too.
        rows: the lines' token ids in the task's vocabulary, or the reasons why they are bad.
        start: the number of lines before these.
    """
    task = sizes[0]
    tokens = np.full((len(rows), task.max_length), PAD, np.int32)
    for line, row in zip(tokens, rows, strict=True):
        if not isinstance(row, str):
            line[: len(row)] = row
            line[len(row)] = EOS
    right, completed = np.zeros((2, len(rows)), bool)
    for size in sizes:
        others = np.flatnonzero(~right)
        filled, were_prompts = _complete(size, translate(tokens[others], task, size))
        graded = size.grade(filled, np.zeros(filled.shape, bool)).chain_correct
        tokens[others[graded]] = translate(filled[graded], size, task)
        right[others[graded]] = True
        completed[others[graded]] = were_prompts[graded]
    bad = [
        BadLine(start + i + 1, rows[i] if isinstance(rows[i], str) else _reason(sizes, rows[i]))
        for i in np.flatnonzero(~right)
    ]
    return Lines(tokens[right].astype(token_dtype(task)), bad, int(completed.sum()))


def _complete(task: Task, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Completes the rows, int `[count, length]`, that are a prompt alone; also returns which they were."""
    lengths, given = row_length(tokens), task.given(tokens).sum(axis=1)
    prompts = np.flatnonzero(lengths == given)
    completed = np.zeros(len(tokens), bool)
    if prompts.size:
        right = task.complete(tokens[prompts])
        # A row that is malformed, that lacks inputs between its steps, or for which there is no room remains.
        fits = (right[:, 0] != PAD) & (row_length(right) < tokens.shape[1])
        fits &= task.given(right).sum(axis=1) == given[prompts]
        width = min(tokens.shape[1], right.shape[1])
        tokens = tokens.copy()
        tokens[prompts[fits], :width] = right[fits, :width]
        completed[prompts[fits]] = True
    return tokens, completed


def _reason(sizes: list[Task], row: np.ndarray) -> str:
    """Why a row, in the first task's ids, is bad: by the size that its prompt has, otherwise by the first."""
    for size in sizes:
        translated = translate(row[None], sizes[0], size)[0]
        if size.prompt_fault(translated) is None:
            return size.diagnose(translated)
    return sizes[0].diagnose(row)
