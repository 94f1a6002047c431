"""Arithmetic over the integers modulo a prime, one operation a line.

    8 - ( 9 * 1 + 9 / 7 ) = 8 - ( 9 + 9 / 7 ) = 8 - ( 9 + 6 ) = 8 - 4 = 4

An expression has n operators among + - * / with the usual precedence, and brackets where the meaning
needs them. A step replaces one `a op b` by its value, together with the brackets that would then enclose
a single number. Expressions are grown backwards from the answer, one random number at a time, and are
reduced in the reverse of that random order: the distribution of Feng et al. (NeurIPS 2023, arXiv
2305.15408), whose published generator this follows.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import numpy as np

from effxf_jax.tasks.task import EOS, PAD, Examples, Grade, Task, Vocabulary, row_length

ORDERS = ('random', 'leftmost')

# Operators, by index.
ADD, SUBTRACT, MULTIPLY, DIVIDE = range(4)
# Token ids; the number x is the token FIRST_NUMBER + x.
FIRST_OPERATOR = 2
OPEN, CLOSE, EQUALS = 6, 7, 8
FIRST_NUMBER = 9


class Expressions(NamedTuple):
    """Expressions as numbers with operators between them and brackets around them.

    Arrays of int8, `[count, k + 1]` for k operators, but operators `[count, k]`.
    """

    numbers: np.ndarray
    operators: np.ndarray
    opens: np.ndarray  # brackets that open just before a number
    closes: np.ndarray  # brackets that close just after a number


class Problems(NamedTuple):
    """Expressions of n operators, and the order in which to reduce them.

    Attributes:
        expressions: of n operators.
        order: int8 `[count, n]`; step s replaces the numbers order[s] and order[s] + 1 of the
            expression that is left by one.
    """

    expressions: Expressions
    order: np.ndarray


class Solution(NamedTuple):
    """The chain of reductions: lines[s] after s steps; the last line is the answer, int8 `[count]`."""

    lines: tuple[Expressions, ...]
    answer: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arithmetic(Task):
    """Arithmetic with n operators.

    Attributes:
        n: operators in an expression.
        modulus: a prime, at most 113; the numbers are 0 ... modulus - 1.
        order: 'random', as published, where many chains are right; or 'leftmost', where each step is
            the leftmost legal one, so that just one chain is.

    Raises:
        ValueError: naming every option that is out of range.
    """

    n: int
    modulus: int = 11
    order: str = 'random'

    def __post_init__(self):
        problems = []
        if self.n < 1:
            problems.append(f'n must be at least 1; got {self.n}')
        if not 2 <= self.modulus <= 113 or any(self.modulus % d == 0 for d in range(2, self.modulus)):
            problems.append(f'modulus must be a prime from 2 to 113; got {self.modulus}')
        if self.order not in ORDERS:
            problems.append(f'order must be one of {", ".join(ORDERS)}; got {self.order!r}')
        if problems:
            raise ValueError('\n'.join(problems))

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of([*'+-*/()=', *map(str, range(self.modulus))])

    @property
    def max_length(self) -> int:
        # A line of k operators has at most 4k - 1 tokens, for the last operation never has brackets.
        return 2 * self.n**2 + 2 * self.n + 2

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ('=',)

    def locality(self) -> int | None:
        return None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        number = rng.integers(self.modulus, size=(1, count), dtype=np.int8)
        zero = np.zeros_like(number)
        line = Expressions(number, np.zeros((0, count), np.int8), zero, zero)
        order = np.empty((self.n, count), np.int8)
        for k in range(self.n):
            slot = rng.integers(k + 1, size=count, dtype=np.int8)
            operation = _draw_operations(rng, _pick(line.numbers, slot), self.modulus)
            line = _split(line, slot, *operation)
            order[self.n - 1 - k] = slot
        return Problems(_transposed(line), order.T)

    def solve(self, problems: Problems) -> Solution:
        lines = self._reduce(problems)
        return Solution(tuple(map(_transposed, lines)), lines[-1].numbers[0])

    def encode(self, problems: Problems) -> Examples:
        return _write(self._reduce(problems), self.max_length)

    def grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        # A row is right when, line after line, it spells a legal successor of the line before and then
        # the separator that must follow it; where it leaves all of these is its first wrong position.
        del given  # the prompt ends at the first `=`
        tokens = np.asarray(tokens)
        count, length = tokens.shape
        width = 4 * self.n - 1
        start = np.argmax(tokens == EQUALS, axis=1) + 1
        line = np.where(np.arange(length) < start[:, None] - 1, tokens, PAD)
        line = np.pad(line, ((0, 0), (0, width)))[:, :width]
        answer, right = self._evaluate(line)
        first_wrong = np.where(right, -1, 0).astype(np.int32)
        tokens = np.pad(tokens, ((0, 0), (0, width + 2)))
        for step in range(self.n):
            lines, legal = self._successors(line)
            texts = np.pad(lines, ((0, 0), (0, 0), (0, 1)))
            lengths = np.count_nonzero(lines, axis=-1)
            separator = EQUALS if step < self.n - 1 else EOS
            np.put_along_axis(texts, lengths[..., None], separator, axis=-1)
            columns = np.minimum(start[:, None] + np.arange(width + 1), length)
            written = np.take_along_axis(tokens, columns, axis=1)
            agrees = np.logical_and.accumulate(texts == written[:, None], axis=-1).sum(axis=-1)
            agrees = np.where(legal, agrees, -1)
            chosen = np.argmax(agrees - lengths, axis=1)  # spelled to its end, or else any
            spelled = _along(agrees, chosen) > _along(lengths, chosen)
            first_wrong = np.where(right & ~spelled, start + agrees.max(axis=1), first_wrong)
            right &= spelled
            line = _along(lines, chosen)
            start = start + _along(lengths, chosen) + 1

        ends = row_length(tokens[:, :length])
        before_end = np.take_along_axis(tokens, ends[:, None] - [[1, 2]], axis=1)
        ends_in_answer = (before_end == np.stack([answer + FIRST_NUMBER, np.full(count, EQUALS)], 1)).all(1)
        answer_correct = (answer >= 0) & ends_in_answer & (ends < length)
        return Grade(answer_correct, right, first_wrong)

    def _reduce(self, problems: Problems) -> list[Expressions]:
        """All lines of the chains, slot-major."""
        line = _transposed(problems.expressions)
        lines = [line]
        for step in range(self.n):
            slot = problems.order[:, step] if self.order == 'random' else _leftmost_slot(line)
            line = _merge(line, slot, self.modulus)
            lines.append(line)
        return lines

    def _evaluate(self, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of lines of tokens, -1 where a line is no expression of n operators."""
        for _ in range(self.n):
            lines, legal = self._successors(line)
            line = np.where(legal.any(axis=1)[:, None], _along(lines, legal.argmax(axis=1)), PAD)
        well_formed = (line[:, 0] >= FIRST_NUMBER) & (line[:, 1:] == PAD).all(axis=1)
        return np.where(well_formed, line[:, 0] - FIRST_NUMBER, -1), well_formed

    def _successors(self, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What one operation makes of lines of tokens.

        Args:
            line: `[count, width]`, `<pad>` after its end.

        Returns:
            `[count, n, width]`, the line after reducing its first, second, ... operator, and bool
            `[count, n]`, whether that is an operator and the reduction legal.
        """
        count, width = line.shape
        is_operator = (line >= FIRST_OPERATOR) & (line < FIRST_OPERATOR + 4)
        at = np.argsort(~is_operator, axis=1, kind='stable')[:, : self.n]
        padded = np.pad(line, ((0, 0), (2, 6)))  # column c of line is column c + 2 of this
        neighbours = np.take_along_axis(padded, (at[..., None] + np.arange(5)).reshape(count, -1), axis=1)
        before, left, operator, right, after = np.moveaxis(neighbours.reshape(*at.shape, 5), -1, 0)
        operator = operator - FIRST_OPERATOR
        left, right = left - FIRST_NUMBER, right - FIRST_NUMBER

        # Usual precedence, left to right; but modulo a prime a + b - c may start at b - c, and a * b / c
        # at b / c.
        start, plus, minus, times, divide = PAD, *range(FIRST_OPERATOR, FIRST_OPERATOR + 4)
        multiplicative = operator >= MULTIPLY
        legal = _along(is_operator, at) & (left >= 0) & (right >= 0)
        legal &= ~((operator == DIVIDE) & (right == 0))
        legal &= np.isin(before, (start, OPEN, plus)) | multiplicative & np.isin(before, (minus, times))
        legal &= np.isin(after, (PAD, CLOSE, plus, minus)) | multiplicative & np.isin(after, (times, divide))
        if self.order == 'leftmost':
            legal &= np.cumsum(legal, axis=1) == 1

        bracketed = (before == OPEN) & (after == CLOSE)
        index = np.clip(operator, 0, 3), np.clip(left, 0, None), np.clip(right, 0, None)
        value = _value_table(self.modulus)[index] + FIRST_NUMBER
        first = (at - 1 - bracketed)[..., None]
        columns = np.arange(width)
        source = columns + np.where(columns > first, 2 + 2 * bracketed[..., None], 0) + 2
        lines = np.take_along_axis(padded, source.reshape(count, -1), axis=1)
        lines = lines.reshape(count, -1, width)
        return np.where(columns == first, value[..., None], lines), legal


def _along(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """x[i, index[i]] for every example i; index[i] may name several."""
    return x[np.arange(len(x)).reshape(-1, *[1] * (index.ndim - 1)), index]


# In all that follows arrays are slot-major, `[k + 1, count]`, so that each numpy call works on whole rows
# of examples, and `slot` is `[count]`.


def _transposed(line: Expressions) -> Expressions:
    return Expressions(*(np.ascontiguousarray(x.T) for x in line))


def _pick(x, slot):
    return x[slot, np.arange(x.shape[1])]


def _insert(x, slot, value):
    """x with value before its slot."""
    index = np.arange(len(x) + 1, dtype=np.int8)[:, None]
    end = np.zeros_like(x, shape=(1, x.shape[1]))
    before, behind = np.concatenate([x, end]), np.concatenate([end, x])
    return np.where(index < slot, before, np.where(index > slot, behind, value))


def _remove(x, slot):
    """x without its slot."""
    index = np.arange(len(x) - 1, dtype=np.int8)[:, None]
    return np.where(index < slot, x[:-1], x[1:])


def _neighbours(line: Expressions, slot):
    """The operators that touch a number, -1 where none does or a bracket stands between."""
    none = np.full_like(line.operators, -1, shape=(1, len(slot)))
    operators = np.concatenate([none, line.operators, none])
    before = np.where(_pick(line.opens, slot) > 0, -1, _pick(operators, slot))
    after = np.where(_pick(line.closes, slot) > 0, -1, _pick(operators, slot + 1))
    return before, after


def _split(line: Expressions, slot, left, operator, right) -> Expressions:
    """Replaces a number by `left operator right`, in brackets where the meaning needs them."""
    before, after = _neighbours(line, slot)
    binds_tighter = (before == SUBTRACT) | (before == MULTIPLY) | (after == MULTIPLY) | (after == DIVIDE)
    bracket = (before == DIVIDE) | (operator <= SUBTRACT) & binds_tighter

    at_right = slot + 1, np.arange(len(slot))
    numbers = _insert(line.numbers, slot, left)
    numbers[at_right] = right
    opens = _insert(line.opens, slot, _pick(line.opens, slot) + bracket)
    opens[at_right] = 0
    closes = _insert(line.closes, slot, np.int8(0))
    closes[at_right] += bracket
    return Expressions(numbers, _insert(line.operators, slot, operator), opens, closes)


def _merge(line: Expressions, slot, modulus: int) -> Expressions:
    """Replaces the numbers at slot and slot + 1 by their value, and drops brackets around just that."""
    operator = _pick(line.operators, slot)
    left, right = _pick(line.numbers, slot), _pick(line.numbers, slot + 1)
    bracket = (_pick(line.opens, slot) > 0) & (_pick(line.closes, slot + 1) > 0)

    here = slot, np.arange(len(slot))
    numbers = _remove(line.numbers, slot)
    numbers[here] = _value_table(modulus)[operator, left, right]
    opens = _remove(line.opens, slot + 1)
    opens[here] -= bracket
    closes = _remove(line.closes, slot)
    closes[here] -= bracket
    return Expressions(numbers, _remove(line.operators, slot), opens, closes)


def _leftmost_slot(line: Expressions):
    """The first slot whose number and the next may be reduced first."""
    k, count = line.operators.shape
    chosen = np.full(count, -1, np.int8)
    for i in reversed(range(k)):
        slot = np.full(count, i, np.int8)
        before, _ = _neighbours(line, slot)
        _, after = _neighbours(line, slot + 1)
        operator = line.operators[i]
        additive = (before <= ADD) & ~((after == MULTIPLY) | (after == DIVIDE))
        legal = np.where(operator <= SUBTRACT, additive, before != DIVIDE)
        legal &= (line.closes[i] == 0) & (line.opens[i + 1] == 0)
        chosen[legal] = i
    return chosen


def _draw_operations(rng: np.random.Generator, value, modulus: int):
    """Draws `left operator right` of given values: uniform left and operator among those that allow it.

    A factor of zero makes any other factor right, so it is drawn too; a divisor is never zero.
    """
    table = _operation_table(modulus)
    first, size = table.first[value], table.size[value]
    row = first + (rng.random(len(value)) * size).astype(np.int32)
    return table.left[row], table.operator[row], table.right[row]


class _OperationTable(NamedTuple):
    """Equally likely operations; those of value x are the `size[x]` rows from `first[x]`."""

    first: np.ndarray
    size: np.ndarray
    left: np.ndarray
    operator: np.ndarray
    right: np.ndarray


@functools.cache
def _operation_table(modulus: int) -> _OperationTable:
    numbers = range(modulus)
    rows_of = []
    for value in numbers:
        rows = [(a, ADD, (value - a) % modulus) for a in numbers]
        rows += [(a, SUBTRACT, (a - value) % modulus) for a in numbers]
        rows += [(a, MULTIPLY, value * pow(a, -1, modulus) % modulus) for a in numbers if a]
        if value:
            rows += [(a, DIVIDE, a * pow(value, -1, modulus) % modulus) for a in numbers if a]
        else:
            rows = rows * modulus  # so that one row weighs 1 / modulus
            rows += [(0, MULTIPLY, b) for b in numbers] + [(0, DIVIDE, b) for b in numbers if b]
        rows_of.append(rows)
    size = np.array([len(rows) for rows in rows_of], np.int32)
    left, operator, right = np.array([*itertools.chain(*rows_of)], np.int8).T.copy()
    return _OperationTable(np.cumsum(size, dtype=np.int32) - size, size, left, operator, right)


@functools.cache
def _value_table(modulus: int) -> np.ndarray:
    """The value of `left operator right`, int8 `[operator, left, right]`; zero where it has none."""
    a, b = np.ogrid[:modulus, :modulus]
    inverse = np.array([0] + [pow(x, -1, modulus) for x in range(1, modulus)])
    return (np.stack([a + b, a - b, a * b, a * inverse[b]]) % modulus).astype(np.int8)


def _write(lines: list[Expressions], max_length: int) -> Examples:
    """Spells chains as rows of tokens: every number with its brackets, then an operator or separator."""
    numbers, operators, opens, closes = (np.concatenate(x) for x in zip(*lines, strict=True))
    count = numbers.shape[1]
    separators = np.full_like(numbers, EQUALS - FIRST_OPERATOR)
    is_last = np.cumsum([len(line.numbers) for line in lines]) - 1
    separators[np.setdiff1d(np.arange(len(numbers)), is_last)] = operators
    separators[-1] = EOS - FIRST_OPERATOR
    widths = opens + closes + np.int32(2)
    number_at = np.cumsum(widths, axis=0, dtype=np.int32) - widths + opens
    separator_at = number_at + closes + 1

    tokens = np.full((count, max_length), PAD, np.int32)
    flat = tokens.reshape(-1)
    row = np.arange(count, dtype=np.int32) * max_length
    flat[row + number_at] = numbers + np.int32(FIRST_NUMBER)
    flat[row + separator_at] = separators + np.int32(FIRST_OPERATOR)
    for brackets, token, side in (opens, OPEN, -1), (closes, CLOSE, 1):
        for depth in range(1, brackets.max() + 1):
            slot, example = np.nonzero(brackets >= depth)
            flat[row[example] + number_at[slot, example] + side * depth] = token
    given = np.arange(max_length) <= separator_at[is_last[0]][:, None]
    return Examples(tokens, given)
