"""Files of problems in GSM8K's format as rows of tokens, with what grades need to know about each problem.

A file is read once by a process, until it changes.
"""

import functools
import os
import stat
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from absl import logging

from effxf_jax.gsm8k import records
from effxf_jax.tasks.school_math import grading
from effxf_jax.tasks.school_math.grading import Reference
from effxf_jax.tasks.school_math.pieces import SEP, SEPARATOR, UNK, Bytes, Words, pieces
from effxf_jax.tasks.task import EOS

LONGEST = 2048
"""By default longer examples are left out, so that one of them does not fill the memory."""

_SHOWN = 5


class Problem(NamedTuple):
    """A problem of a file, and what its own solution says."""

    question: str
    answer: str
    reference: Reference


class Known(NamedTuple):
    """A question that a task can grade: a right row with its `<eos>`, int32 `[length]`, and the reference."""

    row: np.ndarray
    reference: Reference


class Corpus(NamedTuple):
    """The problems of a task's files.

    Attributes:
        codec: the tokens of its texts.
        rows: the examples of the training file that are not too long, in order, with their `<eos>`.
        known: what is known about each question of the files, by `key` of its tokens.
        max_length: tokens of the longest example that is not too long, in both files, `<eos>` included.
        longest_prompt: tokens of the longest prompt among these.
        shortest_prompt: tokens of the shortest prompt of all.
    """

    codec: Words | Bytes
    rows: tuple[np.ndarray, ...]
    known: Mapping[bytes, Known]
    max_length: int
    longest_prompt: int
    shortest_prompt: int


class Options(NamedTuple):
    """What rows depend on besides the files; see `GradeSchoolMath`."""

    tokens: str
    min_count: int
    max_tokens: int | None
    has_steps: bool


def key(prompt: np.ndarray) -> bytes:
    """A prompt, int `[length]` with its `<sep>`, as a key of `Corpus.known`."""
    return prompt.astype(np.int32).tobytes()


def row_of(codec: Words | Bytes, question: str, answer: str, has_steps: bool) -> np.ndarray:
    """The row of a problem, int32 `[length]` without `<eos>`; without steps, the answer's last line alone.

    Raises:
        ValueError: `<sep>` occurs in a text.
    """
    for name, text in ('question', question), ('answer', answer):
        if SEPARATOR in text:
            raise ValueError(f'the {name} has {SEPARATOR} in it, which stands between question and answer')
    written = answer if has_steps else answer.strip().rpartition('\n')[2]
    return np.concatenate([codec.encode(question), [SEP], codec.encode(written)], dtype=np.int32)


def load(paths: Mapping[str, str], options: Options) -> Corpus:
    """The problems of a task's files.

    Args:
        paths: the files by option's name: `train_file` and, if there is one, `test_file`.
        options: how they become rows.

    Raises:
        ValueError: a file is missing, broken or empty, or all its examples are too long; the message has a
            line for each problem.
    """
    problems, versions = [], []
    for name, path in paths.items():
        try:
            versions.append(_version(os.path.expanduser(path)))
            _read(*versions[-1])
        except ValueError as error:
            problems.append(f'{name}: {error}')
    if problems:
        raise ValueError('\n'.join(problems))
    return _corpus(tuple(versions), options)


def _version(path: str) -> tuple[str, int, int]:
    """A file's path, when it was modified, and its size.

    Raises:
        ValueError: it cannot be read, or not twice, such as a pipe.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ValueError(f'{path} cannot be read: {getattr(error, "strerror", error)}') from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ValueError(f'{path} cannot be read: it is no file on a disk')
    return path, found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=8)
def _read(path: str, modified: int, size: int) -> tuple[Problem, ...]:
    """The problems of a file in order.

    Raises:
        ValueError: it cannot be read, is empty or has bad lines; the message names the first of them.
    """
    found, bad, bad_count = [], [], 0
    try:
        for one in records.read(path):
            try:
                if isinstance(one, records.BadLine):
                    raise ValueError(one.reason)
                if SEPARATOR in one.question + one.answer:
                    raise ValueError(f'{SEPARATOR} in it, which stands between question and answer')
                found.append(Problem(one.question, one.answer, grading.refer(one.answer)))
            except ValueError as error:
                bad_count += 1
                bad += [f'; line {one.number}: {error}'] * (bad_count <= _SHOWN)
    except records.FileError as error:
        raise ValueError(str(error)) from error
    if bad:
        raise ValueError(f'{path} has {bad_count:,} bad lines{"".join(bad)}{"; ..." * (bad_count > _SHOWN)}')
    if not found:
        raise ValueError(f'{path} is empty; expected one problem per line')
    if mistakes := sum(len(problem.reference.own_mistakes) for problem in found):
        _warn(
            f'{path}: {mistakes:,} annotations are wrong or unreadable; a solution may repeat those of its '
            'problem.'
        )
    return tuple(found)


@functools.lru_cache(maxsize=8)
def _corpus(versions: tuple[tuple[str, int, int], ...], options: Options) -> Corpus:
    of_files = [_read(*version) for version in versions]
    if options.tokens == 'bytes':
        codec = Bytes()
    else:
        texts = (text for problem in of_files[0] for text in (problem.question, problem.answer))
        counts = Counter(piece for text in texts for piece in pieces(text))
        codec = Words.of(counts, options.min_count)
    rows = [
        [np.append(row_of(codec, one.question, one.answer, options.has_steps), EOS) for one in problems]
        for problems in of_files
    ]
    longest = max(len(row) for of_file in rows for row in of_file)
    limit = min(longest, LONGEST) if options.max_tokens is None else options.max_tokens
    problems = [
        f'max_tokens must be at least {min(map(len, of_file)):,}, the length of the shortest example of '
        f'{path}; got {limit:,}'
        for (path, *_), of_file in zip(versions, rows, strict=True)
        if min(map(len, of_file)) > limit
    ]
    if problems:
        raise ValueError('\n'.join(problems))
    known: dict[bytes, Known] = {}
    for problems, of_file in zip(of_files, rows, strict=True):
        for problem, row in zip(problems, of_file, strict=True):
            _add(known, row, problem.reference)
    for (path, *_), of_file in zip(versions, rows, strict=True):
        _log(path, of_file, limit, options)
    kept = [row for of_file in rows for row in of_file if len(row) <= limit]
    prompt_length = lambda row: int(np.argmax(row == SEP)) + 1
    return Corpus(
        codec,
        tuple(row for row in rows[0] if len(row) <= limit),
        known,
        max(map(len, kept)),
        max(map(prompt_length, kept)),
        min(prompt_length(row) for of_file in rows for row in of_file),
    )


def _add(known: dict[bytes, Known], row: np.ndarray, reference: Reference) -> None:
    """Adds a problem; a question that is there already has the answers of both."""
    prompt = key(row[: np.argmax(row == SEP) + 1])
    if prompt in known:
        pairs = zip(known[prompt].reference, reference, strict=True)
        known[prompt] = known[prompt]._replace(reference=Reference(*(one | other for one, other in pairs)))
    else:
        known[prompt] = Known(row, reference)


def _log(path: str, rows: list[np.ndarray], limit: int, options: Options) -> None:
    """Logs how much of a file cannot be told apart or is left out."""
    unknown = [int((row == UNK).sum()) for row in rows] if options.tokens == 'words' else []
    if any(unknown):
        _warn(
            f'{path}: {sum(unknown):,} of {sum(map(len, rows)):,} tokens, in '
            f'{np.count_nonzero(unknown):,} of {len(rows):,} examples, are words that the training file does '
            f'not have {options.min_count:,} times; they are read as <unk>.'
        )
    if too_long := sum(len(row) > limit for row in rows):
        _warn(f'{path}: {too_long:,} of {len(rows):,} examples have over {limit:,} tokens and are left out.')


@functools.lru_cache(maxsize=256)  # a program may make a task more than once
def _warn(message: str) -> None:
    logging.warning('%s', message)
