"""Lines of files as examples: each is a valid example of a task, or a bad line with a reason.

What the formats of `text_files` and `record_files` share. A task must itself grade a line right for it to be
valid; a prompt alone is completed.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from effxf_jax.data.blocks import DataError, token_dtype
from effxf_jax.data.mixtures import smaller_sizes, translate
from effxf_jax.tasks import EOS, PAD, Task
from effxf_jax.tasks.task import row_length

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
        left_out: how many further lines are right, but longer than the task's rows.
    """

    tokens: np.ndarray
    bad: list[BadLine]
    completed: int
    left_out: int


def sizes_of(task: Task, mixture: bool) -> list[Task]:
    """The task and, in a mixture, its smaller sizes, the largest first.

    Raises:
        DataError: it is to be a mixture, but the task exists at one size.
    """
    return [task, *reversed(smaller_sizes(task))] if mixture else [task]


def grade(sizes: list[Task], rows: list[np.ndarray | str | None], start: int) -> Lines:
    """Grades consecutive lines, the first of which has the number start + 1.

    Args:
        sizes: the task, and the smaller sizes of it that are valid, too.
        rows: for each line its token ids in the task's vocabulary, shorter than the task's rows; or the
            reason why it is bad; or None if it is right but too long.
        start: the number of lines before these.
    """
    task = sizes[0]
    left_out = np.array([row is None for row in rows])
    tokens = np.full((len(rows), task.max_length), PAD, np.int32)
    for line, row in zip(tokens, rows, strict=True):
        if isinstance(row, np.ndarray):
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
        BadLine(int(start + i + 1), rows[i] if isinstance(rows[i], str) else _reason(sizes, rows[i]))
        for i in np.flatnonzero(~right & ~left_out)
    ]
    valid = tokens[right].astype(token_dtype(task))
    return Lines(valid, bad, int(completed.sum()), int(left_out.sum()))


def load(path: str | os.PathLike, stretches: Iterable[Lines]) -> np.ndarray:
    """All examples of a file, `[count, max_length]`, of which every line must be valid.

    Args:
        path: the file, for messages.
        stretches: all its lines.

    Raises:
        DataError: there are no lines or bad ones, the first of which the message names; or all are left out.
    """
    tokens, bad, bad_count, completed, left_out = [], [], 0, 0, 0
    for lines in stretches:
        tokens.append(lines.tokens)
        bad += lines.bad[: _SHOWN - len(bad)]
        bad_count += len(lines.bad)
        completed += lines.completed
        left_out += lines.left_out
    if not tokens:
        raise DataError(f'{path} is empty; expected one line per example')
    if bad:
        shown = ''.join(f'; line {line.number}: {line.reason}' for line in bad)
        raise DataError(f'{path} has {bad_count:,} bad lines{shown}{"; ..." * (bad_count > len(bad))}')
    if completed:
        logging.warning('%s: %s lines are prompts alone; their chains are computed.', path, f'{completed:,}')
    examples = np.concatenate(tokens)
    if not len(examples):
        raise DataError(f'all {left_out:,} examples of {path} are longer than the rows of the task')
    return examples


def write(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Writes lines to a file, which is there when it is complete.

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
            file.writelines(f'{line}\n' for line in lines)
            file.flush()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


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
