"""Edit distance of a pattern to the most recent part of a stream, as an online dynamic programme [ours].

    a b <sep> b a 2 b 2 , a a 0 b 2 , b a 2 b 0 , <sep> 0

A pattern p of m letters is given, then the letters of a stream s one by one. After each, the model writes the
row d(i, 1) ... d(i, m), every entry after its letter of the pattern, where d(i, j) is the least cost of
turning any part of the stream that ends at letter i into the first j letters of the pattern (Sellers 1980):

    d(i, j) = min(d(i-1, j) + 2, d(i, j-1) + 2, d(i-1, j-1) + 3 [s(i) and p(j) differ]),
    d(i, 0) = 0,  d(0, j) = 2j.

No entry exceeds 2m, and every produced token is a function of the last 2m + 4 tokens at any length of the
stream: a row and its letter have 2m + 2 tokens, d(i-1, j) is one row before d(i, j), and d(i-1, j-1) is two
tokens before d(i-1, j). So the pattern's length sets the locality, and the number of rows sets the length.
"""

import dataclasses
import functools
import string
from typing import ClassVar, NamedTuple

import numpy as np

from effxf_jax.tasks.edit_distance import (
    GAP,
    LETTERS,
    LONGEST_STRING,
    MAX_LETTERS,
    MIN_LETTERS,
    draw_alphabets,
    draw_below,
    entry_dtype,
    next_row,
)
from effxf_jax.tasks.task import (
    EOS,
    PAD,
    Examples,
    Fault,
    Grade,
    Task,
    Vocabulary,
    grade_against,
    refuse_options,
    row_length,
)

# Token ids; the letter x is the token FIRST_LETTER + x.
SEP, COMMA = 2, 3
FIRST_LETTER = 4
FIRST_NUMBER = FIRST_LETTER + 26


class Problems(NamedTuple):
    """Patterns, int8 `[count, pattern_length]`, and streams, int8 `[count, rows]`, of letters 0 ... 25."""

    pattern: np.ndarray
    stream: np.ndarray


class Solution(NamedTuple):
    """The entries d(i, j), int8 or int16 `[count, rows, pattern_length]`, and the last one, `[count]`."""

    matrix: np.ndarray
    answer: np.ndarray


@dataclasses.dataclass(frozen=True)
class EditDistanceLocal(Task):
    """Edit distance of a pattern to the most recent part of a stream.

    In direct mode the pattern and the whole stream are given, `a b <sep> b a b <sep> 0`.

    Attributes:
        rows: letters in the stream.
        pattern_length: letters in the pattern, m.
        answer_mode: 'chain' or 'direct'.

    Raises:
        ValueError: naming every option that is out of range.
    """

    aliases: ClassVar = ('ed_local',)
    title: ClassVar = 'local edit distance'
    size_option: ClassVar = 'rows'
    published_sizes: ClassVar = tuple(
        {'rows': rows, 'pattern_length': 4} for rows in (7, 20, 35, 50)
    )  # [ours]
    stream_options: ClassVar = ('rows', 'pattern_length', 'answer_mode')

    rows: int
    pattern_length: int
    answer_mode: str = 'chain'

    def __post_init__(self):
        problems = []
        if self.rows < 1:
            problems.append(f'rows must be at least 1; got {self.rows}')
        if not 1 <= self.pattern_length <= LONGEST_STRING:
            problems.append(f'pattern_length must be from 1 to {LONGEST_STRING:,}; got {self.pattern_length}')
        refuse_options(problems, self.answer_mode)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        numbers = map(str, range(GAP * self.pattern_length + 1))
        return Vocabulary.of(['<sep>', ',', *string.ascii_lowercase, *numbers])

    @property
    def max_length(self) -> int:
        return self._prompt_length + self.rows * self.tokens_per_row + 3

    @property
    def step_ends(self) -> tuple[str, ...]:
        return (',', '<sep>')

    def locality(self) -> int | None:
        """2m + 4 in chain mode, for m >= 2 the least number."""
        return self.tokens_per_row + 2 if self.answer_mode == 'chain' else None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        # The stream repeats the pattern from a random position. A share of its letters, drawn for each
        # example, are edits: a letter left out, replaced or inserted.
        size = (self.rows, count)
        alphabet_size = rng.integers(MIN_LETTERS, MAX_LETTERS + 1, count, dtype=np.int8)
        pattern = draw_below(rng, alphabet_size, (self.pattern_length, count))
        letter = draw_below(rng, alphabet_size, size)
        edited = rng.random(size, dtype=np.float32) < rng.random(count, dtype=np.float32)
        kind = np.where(edited, rng.integers(3, size=size, dtype=np.int8), -1)
        left_out, inserted = kind == 0, kind == 1
        steps = 1 + left_out.astype(np.int32) - inserted
        start = rng.integers(self.pattern_length, size=count)
        at = (start + np.cumsum(steps, axis=0)) % self.pattern_length
        copied = np.take_along_axis(pattern, at, axis=0)
        stream = np.where(edited & ~left_out, letter, copied)

        alphabet = draw_alphabets(rng, count)
        pattern, stream = alphabet[pattern, np.arange(count)], alphabet[stream, np.arange(count)]
        return Problems(np.ascontiguousarray(pattern.T), np.ascontiguousarray(stream.T))

    def solve(self, problems: Problems) -> Solution:
        pattern, stream = (np.ascontiguousarray(x.T) for x in problems)
        m, count = pattern.shape
        dtype = entry_dtype(GAP * m)
        row = np.empty((m + 1, count), dtype)
        row[:] = GAP * np.arange(m + 1)[:, None]
        matrix = np.empty((self.rows, m, count), dtype)
        for i in range(self.rows):
            row = next_row(row, 0, stream[i] != pattern)
            matrix[i] = row[1:]
        return Solution(np.ascontiguousarray(np.moveaxis(matrix, 2, 0)), row[-1])

    def encode(self, problems: Problems) -> Examples:
        pattern, stream = (x + np.int32(FIRST_LETTER) for x in problems)
        solution = self.solve(problems)
        count = len(pattern)
        column = lambda token: np.full((count, 1), token, np.int32)
        if self.answer_mode == 'chain':
            rows = np.empty((count, self.rows, self.tokens_per_row), np.int32)
            rows[:, :, 0] = stream
            rows[:, :, 1:-1:2] = pattern[:, None]
            rows[:, :, 2:-1:2] = solution.matrix + np.int32(FIRST_NUMBER)
            rows[:, :, -1] = COMMA
        else:
            rows = stream
        answer = solution.answer[:, None] + np.int32(FIRST_NUMBER)
        parts = [pattern, column(SEP), rows.reshape(count, -1), column(SEP), answer, column(EOS)]
        return Examples(np.concatenate(parts, axis=1), np.repeat(self._given[None], count, axis=0))

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        return self._right(*self._parse(tokens))

    def _right(
        self, problems: Problems, pattern_is_valid: np.ndarray, stream_is_valid: np.ndarray
    ) -> np.ndarray:
        """The right rows of what `_parse` returns."""
        # A wrong token in the stream is a fault at its position and, in direct mode, of the prompt.
        well_formed = pattern_is_valid if self.answer_mode == 'chain' else pattern_is_valid & stream_is_valid
        return np.where(well_formed[:, None], self.encode(problems).tokens, PAD)

    def _grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        problems, pattern_is_valid, stream_is_valid = self._parse(tokens)
        judged = grade_against(self._right(problems, pattern_is_valid, stream_is_valid), tokens, given)
        return judged._replace(answer_correct=judged.answer_correct & stream_is_valid)

    def _parse(self, tokens: np.ndarray) -> tuple[Problems, np.ndarray, np.ndarray]:
        """Parses rows: the problems, and which patterns and which streams consist of letters."""
        padded = np.pad(tokens, ((0, 0), (0, self.max_length)))[:, : self.max_length]
        letters = padded[:, self._given] - FIRST_LETTER
        is_letter = (letters >= 0) & (letters < 26)
        letters = np.where(is_letter, letters, 0).astype(np.int8)
        m = self.pattern_length
        pattern, stream = letters[:, :m], letters[:, m + 1 : -1]
        pattern_is_valid = is_letter[:, :m].all(axis=1) & (padded[:, m] == SEP)
        stream_is_valid = is_letter[:, m + 1 : -1].all(axis=1) & (padded[:, -3] == SEP)
        return Problems(pattern, stream), pattern_is_valid, stream_is_valid

    def given(self, tokens: np.ndarray) -> np.ndarray:
        # Rows may have fewer letters in the stream than the task.
        length = tokens.shape[1]
        if self.answer_mode == 'direct':
            separators = tokens == SEP
            return np.cumsum(separators, axis=1) - separators < 2
        given = np.pad(self._given, (0, max(length - self.max_length, 0)))[:length]
        return given & (np.arange(length) < row_length(tokens)[:, None])

    @property
    def hardest_length(self) -> int:
        """The length of the pattern and its `<sep>`."""
        return self._prompt_length

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The lower bound from the pattern, the upper bound from the pattern and one row.

        Lower: every row repeats the pattern, so all of it is needed until the last row begins, and then the
        part that is still to be written.

        Upper: the continuation depends on the pattern, the last letter of the stream and the row above, in
        which adjacent entries differ by -2 ... 2; the unfinished row follows from these.
        """
        m, letter = self.pattern_length, np.log2(LETTERS)
        # A row is a letter of the stream, then letters of the pattern and entries alternately.
        into_last_row = length - self._prompt_length - (self.rows - 1) * self.tokens_per_row
        spelled = int(np.clip(into_last_row // 2, 0, m))
        lower = (min(length, m) - spelled) * letter
        return float(lower), float(m * (letter + np.log2(2 * GAP + 1)) + letter)

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        start = 0
        for part, length in ('pattern', self.pattern_length), ('stream', self.rows):
            if part == 'stream' and self.answer_mode == 'chain':
                return self._rows_fault(tokens)
            is_letter = (tokens[start:] >= FIRST_LETTER) & (tokens[start:] < FIRST_NUMBER)
            end = start + int(np.argmin(np.append(is_letter, False)))
            if end == len(tokens):
                return Fault('truncated', end, 'the text ends within the prompt')
            if tokens[end] != SEP:
                found = self.vocabulary.tokens[tokens[end]]
                return Fault('malformed prompt', end, f'{found} where a letter or <sep> is expected')
            if end - start != length:
                detail = f'{part} of {end - start} letters; this task has {length}'
                return Fault('malformed prompt', start, detail)
            start = end + 1
        return None

    def _rows_fault(self, tokens: np.ndarray) -> Fault | None:
        """The fault of a complete text with another number of rows, otherwise None."""
        rows, rest = divmod(len(tokens) - self._prompt_length - 2, self.tokens_per_row)
        if rest == 0 and rows != self.rows and tokens[-2] == SEP:
            detail = f'stream of {rows} letters; this task has {self.rows}'
            return Fault('malformed prompt', self._prompt_length, detail)
        return None

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        row = (position - self._prompt_length) // self.tokens_per_row
        return f'row {row + 1}' if row < self.rows and self.answer_mode == 'chain' else 'answer'

    def _sources(self, row):
        """A letter of the stream, the pattern's before the entry, three neighbours; letters are repeated."""
        m, answer = self.pattern_length, len(row) - 2
        start = lambda i: self._prompt_length + i * self.tokens_per_row
        entry = lambda i, j: start(i) + 2 * j + 2
        for i in range(self.rows):
            for j in range(m):
                at = entry(i, j)
                yield at - 1, [(at - 1, entry(i - 1, j) - 1 if i else j)]
                neighbours = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
                operands = [start(i), at - 1, *(entry(*cell) for cell in neighbours if min(cell) >= 0)]
                yield at, [(at, operand) for operand in operands]
        yield answer, [(answer, entry(self.rows - 1, m - 1))]

    @property
    def _prompt_length(self) -> int:
        return self.pattern_length + 1

    @property
    def tokens_per_row(self) -> int:
        """Tokens from one letter of the stream to the next."""
        return 2 * self.pattern_length + 2 if self.answer_mode == 'chain' else 1

    @functools.cached_property
    def _given(self) -> np.ndarray:
        """Which tokens are given, bool `[max_length]`."""
        column = np.arange(self.max_length) - self._prompt_length
        return (column < 0) | (column <= self.rows * self.tokens_per_row) & (
            column % self.tokens_per_row == 0
        )
