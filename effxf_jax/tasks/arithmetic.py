"""Arithmetic over the integers modulo a prime, one operation per line.

    8 - ( 9 * 1 + 9 / 7 ) = 8 - ( 9 + 9 / 7 ) = 8 - ( 9 + 6 ) = 8 - 4 = 4

An expression has n operators among + - * / with the usual precedence, and brackets only where they are
needed. A step replaces one `a op b` by its value and removes brackets that would then enclose a single
number. Expressions are grown backwards from the answer, by expanding one random number at a time, and the
chain reduces them in the reverse order. This is the distribution of Feng et al. (NeurIPS 2023, arXiv
2305.15408), after their published generator.
"""

import dataclasses
import functools
import itertools
from typing import ClassVar, NamedTuple

import numpy as np

from effxf_jax.tasks.expressions import (
    CLOSE,
    DIVIDE,
    EQUALS,
    FIRST_NUMBER,
    FIRST_OPERATOR,
    MULTIPLY,
    NUMBER,
    OPEN,
    SEPARATOR,
    SYMBOL,
    draw_operations,
    leftmost_slot,
    merge_numbers,
    numbers_at,
    slot_dtype,
    split_number,
    value_table,
    write_lines,
)
from effxf_jax.tasks.modular import modulus_problems
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
)

ORDERS = ('random', 'leftmost')


class Expressions(NamedTuple):
    """Expressions as numbers, the operators between them and the brackets around them.

    All arrays have the dtype `slot_dtype` and are `[count, k + 1]` for k operators, `operators` `[count, k]`.
    """

    numbers: np.ndarray
    operators: np.ndarray
    opens: np.ndarray  # number of brackets that open before a number
    closes: np.ndarray  # number of brackets that close after a number


class Problems(NamedTuple):
    """Expressions of n operators, and the order in which to reduce them.

    Attributes:
        expressions: expressions of n operators.
        order: `[count, n]`, of the dtype `slot_dtype`; step s replaces the numbers order[s] and order[s] + 1
            of the remaining expression by their value.
    """

    expressions: Expressions
    order: np.ndarray


class Solution(NamedTuple):
    """The chain of reductions: `lines[s]` after s steps, and the answer, `[count]`."""

    lines: tuple[Expressions, ...]
    answer: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arithmetic(Task):
    """Arithmetic expressions of n operators.

    Attributes:
        n: operators in an expression.
        modulus: a prime, at most 113; the numbers are 0 ... modulus - 1.
        order: 'random', as published: steps in any legal order, so many chains are right. 'leftmost': each
            step is the leftmost legal one, so one chain is right.
        answer_mode: 'chain' or 'direct'.

    Raises:
        ValueError: naming every option that is out of range.
    """

    aliases: ClassVar = ('arith',)
    dp_class: ClassVar = 'arithmetic'
    metric: ClassVar = 'answer_accuracy'  # [paper]
    published_sizes: ClassVar = ({'n': 6}, {'n': 10}, {'n': 13}, {'n': 16})  # [inferred]
    stream_options: ClassVar = ('n', 'modulus', 'order', 'answer_mode')

    n: int
    modulus: int = 11
    order: str = 'random'
    answer_mode: str = 'chain'

    def __post_init__(self):
        problems = []
        if self.n < 1:
            problems.append(f'n must be at least 1; got {self.n}')
        problems += modulus_problems(self.modulus)
        if self.order not in ORDERS:
            problems.append(f'order must be one of {", ".join(ORDERS)}; got {self.order!r}')
        refuse_options(problems, self.answer_mode)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of([*'+-*/()=', *map(str, range(self.modulus))])

    @property
    def max_length(self) -> int:
        # A line of k operators has at most 4k - 1 tokens, since its last operation never has brackets.
        if self.answer_mode == 'direct':
            return 4 * self.n + 2
        return 2 * self.n**2 + 2 * self.n + 2

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ('=',)

    def locality(self) -> int | None:
        return None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        dtype = slot_dtype(self.n)
        line = np.zeros((4, 1, count), dtype)
        line[NUMBER] = rng.integers(self.modulus, size=count, dtype=np.int8)
        line[SYMBOL] = SEPARATOR
        order = np.empty((self.n, count), dtype)
        for k in range(self.n):
            slot = rng.integers(k + 1, size=count, dtype=dtype)
            line = split_number(line, slot, *draw_operations(rng, numbers_at(line, slot), self.modulus))
            order[self.n - 1 - k] = slot
        return Problems(_expressions(line), order.T)

    def solve(self, problems: Problems) -> Solution:
        lines = self._reduce(problems)
        return Solution(tuple(map(_expressions, lines)), lines[-1][NUMBER, 0])

    def encode(self, problems: Problems) -> Examples:
        lines = self._reduce(problems)
        return write_lines(lines if self.answer_mode == 'chain' else [lines[0], lines[-1]], self.max_length)

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        """The chain in which every step is the leftmost legal one."""
        _, line, answer, well_formed = self._parse(tokens)
        lines = [line]
        if self.answer_mode == 'chain':
            for _ in range(self.n - 1):
                line = self._reduced(line)
                lines.append(line)
        lines.append(np.where(np.arange(line.shape[1]) == 0, answer[:, None] + FIRST_NUMBER, PAD))
        rows = np.full((len(tokens), sum(x.shape[1] + 1 for x in lines)), PAD, np.int32)
        start = np.zeros(len(tokens), int)
        for line in lines:
            columns = start[:, None] + np.arange(line.shape[1])
            np.put_along_axis(rows, columns, line, axis=1)
            start = start + np.count_nonzero(line, axis=1) + 1
            np.put_along_axis(rows, start[:, None] - 1, EQUALS, axis=1)
        np.put_along_axis(rows, start[:, None] - 1, EOS, axis=1)
        return np.where(well_formed[:, None], rows, PAD)

    def _grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        start, line, answer, well_formed = self._parse(tokens)
        length, width = tokens.shape[1], line.shape[1]
        columns = np.arange(length + 2)
        right = np.where(columns < start[:, None], np.pad(tokens, ((0, 0), (0, 2))), PAD)
        right[columns == start[:, None]] = answer + FIRST_NUMBER
        right[columns == start[:, None] + 1] = EOS
        judged = grade_against(np.where(well_formed[:, None], right, PAD), tokens, given)
        if self.answer_mode == 'direct':
            return judged

        # A chain is right if every line is a legal successor of the line before, with the right separator
        # after it. The first wrong position is where a line departs from all legal successors.
        right = well_formed
        first_wrong = np.where(right, -1, 0)
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
            chosen = np.argmax(agrees - lengths, axis=1)  # a complete one if there is one
            spelled = _along(agrees, chosen) > _along(lengths, chosen)
            first_wrong = np.where(right & ~spelled, start + agrees.max(axis=1), first_wrong)
            right &= spelled
            line = _along(lines, chosen)
            start = start + _along(lengths, chosen) + 1
        return Grade(judged.answer_correct, right, first_wrong.astype(np.int32))

    @property
    def hardest_length(self) -> int:
        """The length of a prompt without brackets."""
        return 2 * self.n + 2

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The lower bound from chains of subtractions, the upper bound from all expressions.

        Lower: x0 - x1 - ... - xn has one legal chain, which first writes x0 - x1, then x2, x3 and so on. So
        prefixes of such chains must not be confused if the numbers still to be written differ. Within the
        prompt these are the numbers given so far, the first two counted as one; within line l they are the
        numbers that remain after l operations.

        Upper: the continuation depends on the last complete line, on the operation applied to it, and on the
        position within the next line. There are at most p^(k+1) 4^k S_k lines of k operators, where S_k, the
        large Schroeder number, counts the bracketings and is at most (3 + 2 sqrt 2)^k.
        """
        prompt = self.hardest_length
        if length < prompt:
            numbers = max((length - 1) // 2, 1)
        else:
            # Line l has n - l operators, hence 2 (n - l) + 2 tokens including its separator.
            line = np.arange(self.n + 1)
            ends = np.cumsum(2 * (self.n - line) + 2)
            whole = int(np.searchsorted(ends, length, side='right'))  # complete lines
            numbers = self.n - whole + (length == ends[whole - 1]) if whole <= self.n else 0
        size = np.log2(4 * self.modulus * (3 + 2 * 2**0.5))
        upper = np.log2(self.modulus) + self.n * size + np.log2(self.n * self.n * (4 * self.n + 2) + 1)
        return float(numbers * np.log2(self.modulus)), float(upper)

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        operators_within = [0]  # outside brackets, then within each open bracket
        operators = 0
        operand_due = True
        for position, token in enumerate(tokens):
            if operand_due and token >= FIRST_NUMBER:
                operand_due = False
            elif operand_due and token == OPEN:
                operators_within.append(0)
            elif not operand_due and FIRST_OPERATOR <= token < OPEN:
                operators_within[-1] += 1
                operators += 1
                operand_due = True
            elif not operand_due and token == CLOSE and len(operators_within) > 1 and operators_within[-1]:
                operators_within.pop()
            elif not operand_due and token == EQUALS and len(operators_within) == 1:
                return self._expression_fault(tokens[:position], operators)
            else:
                due = 'a number or (' if operand_due else 'an operator, ) or ='
                detail = f'{self.vocabulary.tokens[token]} where {due} is expected'
                return Fault('malformed prompt', position, detail)
        return Fault('truncated', len(tokens), 'the text ends within the prompt')

    def _expression_fault(self, expression: np.ndarray, operators: int) -> Fault | None:
        if operators != self.n:
            return Fault(
                'malformed prompt', 0, f'expression of {operators} operators; this task has {self.n}'
            )
        line = np.pad(expression, (0, 4 * self.n + 1 - len(expression)))
        if not self._evaluate(line[None])[1][0]:
            return Fault('malformed prompt', 0, 'the expression divides by zero')
        return None

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        if self.answer_mode == 'direct':
            return 'answer'
        return f'line {np.count_nonzero(tokens[:position] == EQUALS)}'

    def _sources(self, row):
        """Of a line's numbers: the same number of the line before, or the two that are reduced to it."""
        starts = [0, *(np.flatnonzero(row == EQUALS) + 1), len(row)]
        lines = [row[start : end - 1] for start, end in itertools.pairwise(starts)]
        width = 4 * self.n + 1
        for number, (before, line) in enumerate(itertools.pairwise(lines)):
            successors, legal = self._successors(np.pad(before, (0, width - len(before)))[None])
            chosen = legal[0] & (successors[0] == np.pad(line, (0, width - len(line)))).all(axis=1)
            is_operator = (before >= FIRST_OPERATOR) & (before < FIRST_OPERATOR + 4)
            operator = np.flatnonzero(is_operator)[chosen.argmax()]
            bracketed = (
                before[max(operator - 2, 0)] == OPEN and before[min(operator + 2, len(before) - 1)] == CLOSE
            )
            reduced = operator - 1 - bracketed
            for place in np.flatnonzero(line >= FIRST_NUMBER):
                if place == reduced:
                    sources = [operator - 1, operator + 1]
                else:
                    sources = [place + (2 + 2 * bracketed) * (place > reduced)]
                at = int(starts[number + 1] + place)
                yield at, [(at, int(starts[number] + source)) for source in sources]

    def _reduce(self, problems: Problems) -> list[np.ndarray]:
        """All lines of the chains, in the slot-major layout of `expressions`."""
        (numbers, operators, opens, closes), order = problems
        separators = np.full_like(operators, SEPARATOR, shape=(len(numbers), 1))
        symbols = np.concatenate([operators, separators], axis=1)
        line = np.stack([numbers.T, symbols.T, opens.T, closes.T])
        lines = [line]
        for step in range(self.n):
            slot = order[:, step] if self.order == 'random' else leftmost_slot(line)
            line = merge_numbers(line, slot, self.modulus)
            lines.append(line)
        return lines

    def _parse(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Parses rows, `[count, length]`.

        Returns:
            The columns where the chains start; the expressions, tokens `[count, 4n + 1]`; their values; and
            which of them are well-formed.
        """
        width = 4 * self.n + 1  # the longest expression has brackets around every operation
        start = np.argmax(np.pad(tokens == EQUALS, ((0, 0), (0, 1))), axis=1) + 1
        line = np.where(np.arange(tokens.shape[1]) < start[:, None] - 1, tokens, PAD)
        line = np.pad(line, ((0, 0), (0, width)))
        answer, well_formed = self._evaluate(line[:, :width])
        return start, line[:, :width], answer, well_formed & (line[:, width:] == PAD).all(axis=1)

    def _evaluate(self, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of lines of tokens, or -1, and which lines are expressions of n operators."""
        for _ in range(self.n):
            line = self._reduced(line)
        well_formed = (line[:, 0] >= FIRST_NUMBER) & (line[:, 1:] == PAD).all(axis=1)
        return np.where(well_formed, line[:, 0] - FIRST_NUMBER, -1), well_formed

    def _reduced(self, line: np.ndarray) -> np.ndarray:
        """Lines of tokens after their leftmost legal operation; all `<pad>` where there is none."""
        lines, legal = self._successors(line)
        return np.where(legal.any(axis=1)[:, None], _along(lines, legal.argmax(axis=1)), PAD)

    def _successors(self, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Applies every single operation of lines of tokens.

        Args:
            line: `[count, width]`, `<pad>` after the line's end.

        Returns:
            `[count, n, width]`, the line after reducing its first, second, ... operator; and bool
            `[count, n]`, whether this operator exists and its reduction is legal.
        """
        count, width = line.shape
        is_operator = (line >= FIRST_OPERATOR) & (line < FIRST_OPERATOR + 4)
        at = np.argsort(~is_operator, axis=1, kind='stable')[:, : self.n]
        padded = np.pad(line, ((0, 0), (2, 6)))  # column c of `line` is column c + 2 here
        neighbours = np.take_along_axis(padded, (at[..., None] + np.arange(5)).reshape(count, -1), axis=1)
        before, left, operator, right, after = np.moveaxis(neighbours.reshape(*at.shape, 5), -1, 0)
        operator = operator - FIRST_OPERATOR
        left, right = left - FIRST_NUMBER, right - FIRST_NUMBER

        # Usual precedence, left to right, except that modulo a prime a + b - c may start at b - c, and
        # a * b / c at b / c.
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
        value = value_table(self.modulus)[index] + FIRST_NUMBER
        first = (at - 1 - bracketed)[..., None]
        columns = np.arange(width)
        source = columns + np.where(columns > first, 2 + 2 * bracketed[..., None], 0) + 2
        lines = np.take_along_axis(padded, source.reshape(count, -1), axis=1)
        lines = lines.reshape(count, -1, width)
        return np.where(columns == first, value[..., None], lines), legal


def _along(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`x[i, index[i]]` for every example i; `index[i]` may hold several indices."""
    return x[np.arange(len(x)).reshape(-1, *[1] * (index.ndim - 1)), index]


def _expressions(line) -> Expressions:
    numbers, symbols, opens, closes = (np.ascontiguousarray(x.T) for x in line)
    return Expressions(numbers, np.ascontiguousarray(symbols[:, :-1]), opens, closes)
