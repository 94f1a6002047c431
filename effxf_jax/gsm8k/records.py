"""Files of word problems: one JSON object a line, `{"question": TEXT, "answer": TEXT}`.

A file may come from anywhere. Each of its lines is either a record or a bad line with a reason. Reading takes
bounded memory, whatever the file's size and content.
"""

import itertools
import json
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

KEYS = ('question', 'answer')
MAX_LINE = 1 << 20
"""The longest line in bytes, without its end."""

_SHOWN_KEYS, _SHOWN_LETTERS = 5, 40


class FileError(ValueError):
    """A file cannot be read."""


class Record(NamedTuple):
    """A problem, and the number of its line, from 1."""

    number: int
    question: str
    answer: str


class BadLine(NamedTuple):
    """A line that is no record: its number, from 1, and the reason."""

    number: int
    reason: str


def read(path: str | os.PathLike) -> Iterator[Record | BadLine]:
    """Reads a file line by line.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            for number in itertools.count(1):
                line = _next_line(file)
                if line == b'':
                    return
                yield _parsed(number, line)
    except OSError as error:
        raise FileError(f'{path} cannot be read: {error.strerror}') from error


def dump(question: str, answer: str) -> str:
    """A problem as a line of a file, without its end."""
    return json.dumps({'question': question, 'answer': answer}, ensure_ascii=False)


def _next_line(file: BinaryIO) -> bytes | None:
    """The next line; empty at the end of the file; None for one that is too long, which is skipped."""
    line = file.readline(MAX_LINE + 1)
    if len(line) <= MAX_LINE or line.endswith(b'\n'):
        return line
    while (rest := file.readline(MAX_LINE)) and not rest.endswith(b'\n'):
        pass
    return None


def _parsed(number: int, line: bytes | None) -> Record | BadLine:
    if line is None:
        return BadLine(number, f'too long: over {MAX_LINE:,} bytes')
    try:
        return Record(number, **_texts(line))
    except ValueError as error:
        return BadLine(number, str(error))


def _texts(line: bytes) -> dict[str, str]:
    """The texts of a line by key.

    Raises:
        ValueError: the line is no record; the message gives the reason.
    """
    if not line.strip():
        raise ValueError('a blank line')
    try:
        pairs = json.loads(line.rstrip(b'\r\n').decode('utf-8'), object_pairs_hook=_Pairs)
    except UnicodeDecodeError as error:
        raise ValueError(f'not UTF-8 at byte {error.start}') from error
    except json.JSONDecodeError as error:
        raise ValueError(f'no JSON: {error.msg.removesuffix(" at")} at column {error.colno}') from error
    except RecursionError as error:
        raise ValueError('no JSON that can be read: brackets inside brackets too deep') from error
    except ValueError as error:  # Python refuses to convert numbers of thousands of digits
        raise ValueError('no JSON that can be read: a number with too many digits') from error
    if not isinstance(pairs, _Pairs):
        raise ValueError(f'not an object with {" and ".join(KEYS)}')
    keys = [key for key, _ in pairs]
    if sorted(keys) != sorted(KEYS):
        shown = ', '.join(repr(key[:_SHOWN_LETTERS]) for key in keys[:_SHOWN_KEYS]) or 'none'
        more = ', ...' * (len(keys) > _SHOWN_KEYS)
        raise ValueError(f'the keys must be {" and ".join(KEYS)}; got {shown}{more}')
    for key, text in pairs:
        _check_text(key, text)
    return dict(pairs)


class _Pairs(list):
    """The keys and values of a JSON object, among which a key may occur twice."""


def _check_text(key: str, text: object) -> None:
    if not isinstance(text, str):
        raise ValueError(f'{key} must be a text')
    if not text.strip():
        raise ValueError(f'{key} is empty')
    if '\0' in text:
        raise ValueError(f'{key} has a NUL character')
    try:
        text.encode('utf-8')
    except UnicodeEncodeError as error:
        raise ValueError(f'{key} has half a surrogate pair, which is no character') from error
