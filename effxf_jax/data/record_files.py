"""Files in GSM8K's format as examples of a task: one JSON object a line, with a question and an answer.

A file may come from anywhere. Each of its lines is either a valid example of the task or a bad line with a
reason. Reading takes bounded memory, whatever the file's size and content. A task says itself how a record
becomes a row; see `Task.from_record`.
"""

import os
from collections.abc import Iterator
from itertools import islice

import numpy as np

from effxf_jax.data import example_lines
from effxf_jax.data.blocks import BLOCK_SIZE, DataError, generate
from effxf_jax.data.example_lines import Lines
from effxf_jax.gsm8k import records
from effxf_jax.tasks import Task


def read(path: str | os.PathLike, task: Task, mixture: bool = False) -> Iterator[Lines]:
    """Reads a file, BLOCK_SIZE lines at a time.

    Args:
        path: the file.
        task: the task of the examples.
        mixture: whether examples of the task's smaller sizes are valid, too.

    Raises:
        DataError: the file cannot be read, or the task has no form in this format.
    """
    sizes = example_lines.sizes_of(task, mixture)
    found = records.read(path)
    start = 0
    try:
        while rows := [_row(record, task) for record in islice(found, BLOCK_SIZE)]:
            yield example_lines.grade(sizes, rows, start)
            start += len(rows)
    except (records.FileError, NotImplementedError) as error:
        raise DataError(str(error)) from error


def load(path: str | os.PathLike, task: Task, mixture: bool = False) -> np.ndarray:
    """Loads all examples of a file: `[count, max_length]`, with dtype `token_dtype(task)`; see `read`.

    Right ones that are longer than the task's rows are left out.

    Raises:
        DataError: the file cannot be read, is empty, or has bad lines, the first of which the message names;
            or the task has no form in this format.
    """
    return example_lines.load(path, read(path, task, mixture))


def write(path: str | os.PathLike, task: Task, seed: int, split: str, count: int) -> None:
    """Writes the first `count` examples of a split to a file, which is there when it is complete.

    Raises:
        DataError: another process writes this file, or the task has no form in this format.
        OSError: the file cannot be written.
    """

    def lines() -> Iterator[str]:
        for examples in generate(task, seed, split, count):
            for row in examples.tokens:
                yield records.dump(**task.to_record(row))

    try:
        example_lines.write(path, lines())
    except NotImplementedError as error:
        raise DataError(str(error)) from error


def _row(record: records.Record | records.BadLine, task: Task) -> np.ndarray | str | None:
    """A record's token ids, or the reason why it is bad, or None if it is right but too long for a row."""
    if isinstance(record, records.BadLine):
        return record.reason
    try:
        row = task.from_record({'question': record.question, 'answer': record.answer})
    except ValueError as error:
        return str(error)
    return row if len(row) < task.max_length else task.diagnose(row)
