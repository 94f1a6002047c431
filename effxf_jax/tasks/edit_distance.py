"""Edit distance of two strings; the chain is the matrix of the dynamic programme, row by row.

    g g y v | p h y l l <sep> 3 4 5 6 7 , 4 6 7 8 9 , 5 7 6 8 10 , 6 8 8 9 11 , <sep> 11

Entry d(i, j) is the cost of turning the first i letters of one string into the first j letters of the other,

    d(i, j) = min(d(i-1, j) + 2, d(i, j-1) + 2, d(i-1, j-1) + 3 [letters i and j differ]),

and the border d(i, 0), d(0, j) is not written. Costs, border and the distribution of strings are those of
the generator published by Feng et al. (NeurIPS 2023, arXiv 2305.15408).
"""

import dataclasses
import functools
import string
from typing import ClassVar, NamedTuple

import numpy as np

from effxf_jax.tasks.task import (
    EOS,
    PAD,
    Examples,
    Fault,
    Task,
    Vocabulary,
    refuse_options,
)

GAP, SUBSTITUTION = 2, 3  # costs [feng]; a match costs nothing
BORDERS = {'published': 1, 'textbook': GAP}
"""The cost of a step along the border: entries i + j as published [feng], or 2i + 2j by the recurrence."""

LENGTHS = 'varied', 'equal'

LETTERS = len(string.ascii_lowercase)
LONGEST_STRING = 2**22  # each entry of the matrix is a token

# The distribution [feng].
MIN_LETTERS, MAX_LETTERS = 3, 10  # different letters in an example
INDEPENDENT = 0.4  # share of pairs drawn independently; the others are made by edits
MAX_SHORTER, MAX_LONGER = 3, 2  # how much the other string may be shorter or longer than n

# Token ids; the letter x is the token FIRST_LETTER + x.
SEP, BAR, COMMA = 2, 3, 4
FIRST_LETTER = 5
FIRST_NUMBER = FIRST_LETTER + 26


class Problems(NamedTuple):
    """Pairs of strings, the first no longer than the second.

    Attributes:
        first: int8 `[count, n]`, letters 0 ... 25, and -1 after the string's end.
        second: int8 `[count, n + 2]`, likewise.
    """

    first: np.ndarray
    second: np.ndarray


class Solution(NamedTuple):
    """The matrices and the distances.

    Attributes:
        matrix: int8 or, for large n, int16 or int32 `[count, n, n + 2]`, entry d(i, j) at [i - 1, j - 1];
            entries beyond the strings' ends are undefined.
        answer: the distance, the last entry within the strings, `[count]`.
    """

    matrix: np.ndarray
    answer: np.ndarray


@dataclasses.dataclass(frozen=True)
class EditDistance(Task):
    """Edit distance of two different strings of about n letters.

    Attributes:
        n: letters in one of the strings.
        lengths: 'varied': the other string has n - 3 ... n + 2 letters and at least one, as published.
            'equal': it has n letters.
        border: 'published', entries i + j [feng], or 'textbook', entries 2i + 2j.
        answer_mode: 'chain' or 'direct'.

    Raises:
        ValueError: naming every option that is out of range.
    """

    aliases: ClassVar = ('ed',)
    dp_class: ClassVar = 'general'
    published_sizes: ClassVar = ({'n': 6}, {'n': 12}, {'n': 16}, {'n': 20})  # [inferred]
    stream_options: ClassVar = ('n', 'border', 'answer_mode')

    n: int
    border: str = 'published'
    answer_mode: str = 'chain'
    lengths: str = 'varied'

    def __post_init__(self):
        problems = []
        if not 1 <= self.n <= LONGEST_STRING:
            problems.append(f'n must be from 1 to {LONGEST_STRING:,}; got {self.n}')
        if self.border not in BORDERS:
            problems.append(f'border must be one of {", ".join(BORDERS)}; got {self.border!r}')
        if self.lengths not in LENGTHS:
            problems.append(f'lengths must be one of {", ".join(LENGTHS)}; got {self.lengths!r}')
        refuse_options(problems, self.answer_mode)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        numbers = map(str, range(self._largest + 1))
        return Vocabulary.of(['<sep>', '|', ',', *string.ascii_lowercase, *numbers])

    @property
    def max_length(self) -> int:
        prompt = 2 * self.n + self._longer + 2
        chain = self.n * (self.n + self._longer + 1) + 1
        return prompt + (chain if self.answer_mode == 'chain' else 0) + 2

    @property
    def step_ends(self) -> tuple[str, ...]:
        return (',', '<sep>')

    def locality(self) -> int | None:
        return None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        height = self.n + MAX_LONGER
        words = np.empty((2, height, count), np.int8)
        lengths = np.empty((2, count), np.int16)
        # As published, a rejected pair is drawn again with the same number of edits.
        edits = rng.integers(1, self.n + 1, count)
        pending = np.arange(count)
        while pending.size:
            drawn, drawn_lengths, accepted = _draw_pairs(rng, self.n, edits[pending])
            if self.lengths == 'equal':
                accepted &= drawn_lengths[1] == self.n
            done = pending[accepted]
            words[:, :, done], lengths[:, done] = drawn[:, :, accepted], drawn_lengths[:, accepted]
            pending = pending[~accepted]

        letters = draw_alphabets(rng, count)[words, np.arange(count)]
        letters[np.arange(height)[:, None] >= lengths[:, None]] = -1
        swapped = lengths[0] > lengths[1]
        first, second = np.where(swapped, letters[::-1], letters)
        return Problems(np.ascontiguousarray(first[: self.n].T), np.ascontiguousarray(second.T))

    def solve(self, problems: Problems) -> Solution:
        matrix = self._matrix(problems)
        last = _lengths(problems.first) - 1, _lengths(problems.second) - 1, np.arange(matrix.shape[2])
        return Solution(np.ascontiguousarray(np.moveaxis(matrix, 2, 0)), matrix[last])

    def encode(self, problems: Problems) -> Examples:
        count = len(problems.first)
        tokens = np.full((count, self.max_length), PAD, np.int32)
        rows, columns = _lengths(problems.first), _lengths(problems.second)
        matrix = self._matrix(problems)
        # Pairs with the same two lengths have the same layout.
        shapes = rows * (self.max_length + 1) + columns
        for shape in np.unique(shapes):
            these = np.flatnonzero(shapes == shape)
            i, j = rows[these[0]], columns[these[0]]
            row = self._spell(problems.first[these, :i], problems.second[these, :j], matrix[:i, :j, these])
            tokens[these, : row.shape[1]] = row
        return Examples(tokens, np.arange(self.max_length) < (rows + columns + 2)[:, None])

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        problems, well_formed = self._parse(tokens)
        return np.where(well_formed[:, None], self.encode(problems).tokens, PAD)

    @property
    def hardest_length(self) -> int:
        """The length of the first string and its `|`."""
        return self.n + 1

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The lower bound from the first string, the upper bound from the whole prompt.

        Lower: a second string that equals one of two different first strings distinguishes them, since the
        diagonal is zero only for equal strings. Once part of the second string is given, it still matters
        where the first string has the second's first letter: this decides whether the entry of row i in the
        first column is i - 1 or at least i [published border]. Within the chain this holds for later rows.

        Upper: the continuation is a function of the prompt and the length.
        """
        letter = np.log2(LETTERS)
        if length <= self.n + 1:
            lower = min(length, self.n) * letter
        else:
            prompt, row = 2 * self.n + 2, self.n + 1
            rows_begun = max(0, -(-(length - prompt) // row))
            lower = max(self.n - rows_begun, 0) if self.border == 'published' else 0
        most = 2 * self.n + self._longer
        return float(lower), float(most * letter + np.log2(self.n * (self.n + self._longer)))

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        ends = []
        for position, token in enumerate(tokens):
            due = (BAR, SEP)[len(ends)]
            if token == due:
                ends.append(position)
            elif not FIRST_LETTER <= token < FIRST_NUMBER:
                found, due = self.vocabulary.tokens[token], self.vocabulary.tokens[due]
                return Fault('malformed prompt', position, f'{found} where a letter or {due} is expected')
            if len(ends) == 2:
                first, second = ends[0], ends[1] - ends[0] - 1
                if self._least <= first <= second and first <= self.n and second <= self.n + self._longer:
                    return None
                sizes = f'1 to {self.n}, then as many or more, up to {self.n + MAX_LONGER}'
                sizes = sizes if self.lengths == 'varied' else f'{self.n} each'
                return Fault(
                    'malformed prompt', 0, f'strings of {first} and {second} letters; this task has {sizes}'
                )
        return Fault('truncated', len(tokens), 'the text ends within the prompt')

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        chain = tokens[np.argmax(tokens == SEP) + 1 : position]
        if self.answer_mode == 'direct' or SEP in chain:
            return 'answer'
        return f'row {np.count_nonzero(chain == COMMA) + 1}'

    def _sources(self, row):
        """Two letters and the three neighbours; the answer repeats the last entry."""
        bar, sep = (int(np.argmax(row == token)) for token in (BAR, SEP))
        columns = sep - bar - 1
        entry = lambda i, j: sep + 1 + i * (columns + 1) + j
        for i in range(bar):
            for j in range(columns):
                neighbours = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
                operands = [i, bar + 1 + j, *(entry(*cell) for cell in neighbours if min(cell) >= 0)]
                yield entry(i, j), [(entry(i, j), operand) for operand in operands]
        yield len(row) - 2, [(len(row) - 2, entry(bar - 1, columns - 1))]

    @property
    def _longer(self) -> int:
        """By how much the second string may be longer than n."""
        return MAX_LONGER if self.lengths == 'varied' else 0

    @property
    def _least(self) -> int:
        """The least length of a string that is read."""
        return 1 if self.lengths == 'varied' else self.n

    @property
    def _largest(self) -> int:
        """The largest entry, if no letters match: n substitutions, and the rest along the border."""
        return SUBSTITUTION * self.n + BORDERS[self.border] * self._longer

    def _matrix(self, problems: Problems) -> np.ndarray:
        """The matrices, slot-major `[n, n + 2, count]`; shorter strings are solved at full size too."""
        first, second = (np.ascontiguousarray(x.T) for x in problems)
        step = BORDERS[self.border]
        dtype = entry_dtype(self._largest)
        matrix = np.empty((*first.shape[:1], *second.shape), dtype)
        row = np.empty((len(second) + 1, second.shape[1]), dtype)
        row[:] = step * np.arange(len(row))[:, None]
        for i in range(len(first)):
            row = next_row(row, step * (i + 1), first[i] != second)
            matrix[i] = row[1:]
        return matrix

    def _spell(self, first: np.ndarray, second: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Rows `[count, length]` for strings `[count, i]` and `[count, j]` with matrix `[i, j, count]`."""
        i, j, count = matrix.shape
        entries = np.moveaxis(matrix, 2, 0) + np.int32(FIRST_NUMBER)
        column = lambda token: np.full((count, 1), token, np.int32)
        parts = [first + np.int32(FIRST_LETTER), column(BAR), second + np.int32(FIRST_LETTER), column(SEP)]
        if self.answer_mode == 'chain':
            chain = np.full((count, i, j + 1), COMMA, np.int32)
            chain[:, :, :-1] = entries
            parts += [chain.reshape(count, -1), column(SEP)]
        return np.concatenate([*parts, entries[:, -1, -1:], column(EOS)], axis=1)

    def _parse(self, tokens: np.ndarray) -> tuple[Problems, np.ndarray]:
        """Parses rows: their problems, and which prompts are well-formed; the others get a placeholder."""
        width = 2 * self.n + MAX_LONGER + 2  # the longest prompt
        tokens = np.pad(tokens, ((0, 0), (0, width)))[:, :width]
        columns = np.arange(width)
        bar, sep = np.argmax(tokens == BAR, axis=1), np.argmax(tokens == SEP, axis=1)
        rows, length = bar, sep - bar - 1
        is_letter = (tokens >= FIRST_LETTER) & (tokens < FIRST_NUMBER)
        is_end = (columns == bar[:, None]) | (columns == sep[:, None])
        well_formed = (is_letter | is_end | (columns > sep[:, None])).all(axis=1)
        well_formed &= (tokens == SEP).any(axis=1) & (rows >= self._least) & (rows <= length)
        well_formed &= (rows <= self.n) & (length <= self.n + self._longer)
        rows, length = np.where(well_formed, rows, 1), np.where(well_formed, length, 1)

        def letters(start, length, height):
            slot = np.arange(height)
            at = np.minimum(start[:, None] + slot, width - 1)
            found = np.clip(np.take_along_axis(tokens, at, axis=1) - FIRST_LETTER, 0, 25)
            return np.where(slot < length[:, None], found, -1).astype(np.int8)

        first = letters(np.zeros_like(rows), rows, self.n)
        second = letters(rows + 1, length, self.n + MAX_LONGER)
        return Problems(first, second), well_formed


def entry_dtype(largest: int) -> np.dtype:
    """The smallest integers that hold an entry and the cost of a substitution more."""
    return np.min_scalar_type(-largest - SUBSTITUTION - 1)


def next_row(above: np.ndarray, border: int, mismatch: np.ndarray) -> np.ndarray:
    """Computes a row of the matrix from the row above it, for all examples at once.

    Args:
        above: int8, int16 or int32 `[columns + 1, count]`, d(i - 1, 0 ... columns).
        border: the entry d(i, 0).
        mismatch: bool `[columns, count]`, whether letter i of one string and letter j of the other differ.

    Returns:
        d(i, 0 ... columns), of the shape and dtype of `above`.
    """
    row = np.empty_like(above)
    row[0] = border
    np.minimum(above[1:] + GAP, above[:-1] + SUBSTITUTION * mismatch.view(np.int8), out=row[1:])
    for j in range(1, len(row)):
        np.minimum(row[j], row[j - 1] + GAP, out=row[j])
    return row


def _lengths(word: np.ndarray) -> np.ndarray:
    """The lengths of strings, int64 `[count]`."""
    return np.count_nonzero(word >= 0, axis=1)


# All arrays below are slot-major, `[slot, count]`, so that each numpy call processes whole rows of examples.


def _draw_pairs(
    rng: np.random.Generator, n: int, edits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws pairs of strings, some of which must be rejected.

    Args:
        rng: the random generator.
        n: letters in the first string.
        edits: `[count]`, the number of edits of pairs that are made by edits.

    Returns:
        The strings as indices into an alphabet, int8 `[2, n + 2, count]`; their lengths, int16 `[2, count]`;
        and which pairs are accepted, bool `[count]`.
    """
    count = len(edits)
    height = n + MAX_LONGER
    shortest = max(1, n - MAX_SHORTER)
    alphabet_size = rng.integers(MIN_LETTERS, MAX_LETTERS + 1, count, dtype=np.int8)
    words = draw_below(rng, alphabet_size, (2, height, count))
    lengths = np.full((2, count), n, np.int16)
    lengths[1] = rng.integers(shortest, height + 1, count)

    edited = np.flatnonzero(rng.random(count) >= INDEPENDENT)
    edited = edited[np.argsort(-edits[edited], kind='stable')]
    word, length = _edit(rng, words[0, :n, edited].T, edits[edited], alphabet_size[edited])
    word = np.concatenate([word, np.zeros_like(word, shape=(MAX_LONGER, len(edited)))])
    words[1][:, edited], lengths[1, edited] = word[:height], length

    equal = (lengths[1] == n) & (words[0, :n] == words[1, :n]).all(axis=0)
    accepted = ~equal & (lengths[1] >= shortest) & (lengths[1] <= height)
    return words, lengths, accepted


def _edit(rng: np.random.Generator, word: np.ndarray, edits: np.ndarray, alphabet_size: np.ndarray):
    """Makes random edits: deletions, substitutions and insertions at random positions, equally likely.

    A string of two letters gets an insertion instead of a deletion [feng].

    Args:
        rng: the random generator.
        word: int8 `[n, count]`, strings of n letters.
        edits: `[count]`, the number of edits, in descending order.
        alphabet_size: `[count]`, the number of different letters.

    Returns:
        The new strings, int8 `[n + most edits, count]`, and their lengths, `[count]`.
    """
    n, count = word.shape
    most = int(edits.max(initial=0))
    word = np.concatenate([word, np.zeros((most, count), np.int8)])
    length = np.full(count, n, np.int16)
    for step in range(most):
        active = np.count_nonzero(edits > step)
        old, old_length = word[: n + step, :active], length[:active]
        kind = rng.integers(3, size=active, dtype=np.int8)
        deletes = (kind == 0) & (old_length > 2)
        inserts = ~deletes & (kind != 1)
        at = draw_below(rng, old_length + inserts, active, np.int16)
        letter = draw_below(rng, alphabet_size[:active], active)

        end = np.zeros_like(old, shape=(1, active))
        shifted_up, same, shifted_down = (
            np.concatenate(x) for x in ((old[1:], end, end), (old, end), (end, old))
        )
        behind = np.where(inserts, shifted_down, np.where(deletes, shifted_up, same))
        new = np.where(np.arange(n + step + 1, dtype=np.int16)[:, None] < at, same, behind)
        new[at, np.arange(active)] = np.where(deletes, new[at, np.arange(active)], letter)
        word[: n + step + 1, :active] = new
        length[:active] += inserts.view(np.int8) - deletes.view(np.int8)
    return word, length


def draw_alphabets(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draws ten different letters, int8 `[10, count]`, by the first steps of a Fisher-Yates shuffle."""
    examples = np.arange(count)
    letters = np.repeat(np.arange(26, dtype=np.int8)[:, None], count, axis=1)
    for slot in range(MAX_LETTERS):
        other = rng.integers(slot, 26, count)
        drawn = letters[other, examples]
        letters[other, examples] = letters[slot]
        letters[slot] = drawn
    return letters[:MAX_LETTERS]


def draw_below(rng: np.random.Generator, bound: np.ndarray, shape, dtype=np.int8) -> np.ndarray:
    """Draws uniform integers from 0 to bound - 1."""
    # A float32 draw is at most 1 - 2^-24; its product with a small bound still rounds to less than the bound.
    return (rng.random(shape, dtype=np.float32) * bound.astype(np.float32)).astype(dtype)
