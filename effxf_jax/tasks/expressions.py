"""Arithmetic expressions as arrays over many examples: how to grow, reduce and encode them.

A line of k operators is one array `[4, k + 1, count]`, slot-major so that each numpy call processes whole
rows of examples. A slot holds a number, the symbol after it (an operator, in the last slot the separator),
and how many brackets open before the number and close after it. An argument `slot` is `[count]`. Both have
the dtype `slot_dtype` of the task's operators.
"""

import functools
from typing import NamedTuple

import numpy as np

from effxf_jax.tasks.modular import inverses
from effxf_jax.tasks.task import EOS, PAD, Examples

# Operators, by index.
ADD, SUBTRACT, MULTIPLY, DIVIDE = range(4)
# Token ids; the number x is the token FIRST_NUMBER + x.
FIRST_OPERATOR = 2
OPEN, CLOSE, EQUALS = 6, 7, 8
FIRST_NUMBER = 9

NUMBER, SYMBOL, OPENS, CLOSES = range(4)
SEPARATOR = EQUALS - FIRST_OPERATOR  # symbols have the indices of operators


def slot_dtype(operators: int) -> type[np.integer]:
    """The dtype of slots, and of counts of brackets, of expressions with so many operators."""
    return np.int8 if operators <= np.iinfo(np.int8).max else np.int16


def numbers_at(line, slot):
    """The number in each example's slot, `[count]`."""
    return _plane(line, NUMBER)[_places(slot)]


def _places(slot):
    """The flat indices of each example's slot in any of the four planes."""
    return slot * np.int64(len(slot)) + np.arange(len(slot))


def _plane(line, part):
    """A flat view of one plane of a line."""
    return line[part].reshape(-1)


def _where(condition, x, y):
    """`np.where` for signed integers; bitwise operations on whole vectors are several times faster."""
    return y ^ ((x ^ y) & -condition.view(np.int8))


def _neighbours(line, at):
    """The symbols before and after a number; the separator where a bracket is between."""
    # Before the first number the index is negative and finds the separator in the last slot.
    before = _plane(line, SYMBOL)[at - line.shape[2]]
    after = _plane(line, SYMBOL)[at]
    before[_plane(line, OPENS)[at] > 0] = SEPARATOR
    after[_plane(line, CLOSES)[at] > 0] = SEPARATOR
    return before, after


def split_number(line, slot, left, operator, right):
    """Replaces a number by `left operator right`, in brackets where they are needed."""
    at = _places(slot)
    before, after = _neighbours(line, at)
    binds_tighter = (before == SUBTRACT) | (before == MULTIPLY) | (after == MULTIPLY) | (after == DIVIDE)
    bracket = (before == DIVIDE) | (operator <= SUBTRACT) & binds_tighter

    _, size, count = line.shape
    index = np.arange(size + 1, dtype=slot.dtype)[:, None]
    doubled = np.empty((4, size + 1, count), line.dtype)
    doubled[:, 0], doubled[:, -1] = line[:, 0], line[:, -1]
    doubled[:, 1:-1] = _where(index[1:-1] <= slot, line[:, 1:], line[:, :-1])
    at_right = at + count
    _plane(doubled, NUMBER)[at], _plane(doubled, NUMBER)[at_right] = left, right
    _plane(doubled, SYMBOL)[at] = operator
    _plane(doubled, OPENS)[at] += bracket
    _plane(doubled, OPENS)[at_right] = 0
    _plane(doubled, CLOSES)[at] = 0
    _plane(doubled, CLOSES)[at_right] += bracket
    return doubled


def merge_numbers(line, slot, modulus: int):
    """Replaces the numbers at slot and slot + 1 by their value, and drops brackets that enclose it alone."""
    at = _places(slot)
    at_right = at + line.shape[2]
    numbers, opens = _plane(line, NUMBER), _plane(line, OPENS)[at]
    operation = _plane(line, SYMBOL)[at], numbers[at], numbers[at_right]
    bracket = (opens > 0) & (_plane(line, CLOSES)[at_right] > 0)

    index = np.arange(line.shape[1] - 1, dtype=slot.dtype)[:, None]
    merged = _where(index < slot, line[:, :-1], line[:, 1:])
    _plane(merged, NUMBER)[at] = value_table(modulus)[operation]
    _plane(merged, OPENS)[at] = opens - bracket
    _plane(merged, CLOSES)[at] -= bracket
    return merged


def leftmost_slot(line):
    """The first slot at which the number and the next one may be reduced first."""
    _, size, count = line.shape
    chosen = np.full(count, -1, line.dtype)
    for i in reversed(range(size - 1)):
        at = _places(np.full(count, i, line.dtype))
        before, _ = _neighbours(line, at)
        _, after = _neighbours(line, at + count)
        operator = line[SYMBOL, i]
        additive = ~np.isin(before, (SUBTRACT, MULTIPLY, DIVIDE)) & ~np.isin(after, (MULTIPLY, DIVIDE))
        legal = np.where(operator <= SUBTRACT, additive, before != DIVIDE)
        legal &= (line[CLOSES, i] == 0) & (line[OPENS, i + 1] == 0)
        chosen[legal] = i
    return chosen


def draw_operations(rng: np.random.Generator, value, modulus: int):
    """Draws `left operator right` with given values; left and operator are uniform among the possible ones.

    If a factor is zero the other factor is arbitrary, so it is drawn too; a divisor is never zero.
    """
    table = _operation_table(modulus)
    first, size = table.first[value], table.size[value]
    row = first + (rng.random(len(value)) * size).astype(np.int32)
    return table.left[row], table.operator[row], table.right[row]


class _OperationTable(NamedTuple):
    """Equally likely operations; those with value x are the `size[x]` rows from `first[x]` on."""

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
            rows = rows * modulus  # so that each row has weight 1 / modulus
            rows += [(0, MULTIPLY, b) for b in numbers] + [(0, DIVIDE, b) for b in numbers if b]
        rows_of.append(rows)
    size = np.array([len(rows) for rows in rows_of], np.int32)
    left, operator, right = np.array([row for rows in rows_of for row in rows], np.int8).T.copy()
    return _OperationTable(np.cumsum(size, dtype=np.int32) - size, size, left, operator, right)


@functools.cache
def value_table(modulus: int) -> np.ndarray:
    """The value of `left operator right`, int8 `[operator, left, right]`; zero where it is undefined."""
    a, b = np.ogrid[:modulus, :modulus]
    return (np.stack([a + b, a - b, a * b, a * inverses(modulus)[b]]) % modulus).astype(np.int8)


def write_lines(lines: list[np.ndarray], max_length: int) -> Examples:
    """Encodes lines as rows of tokens: every number with its brackets, then the symbol after it."""
    numbers, symbols, opens, closes = np.concatenate(lines, axis=1)
    symbols[-1] = EOS - FIRST_OPERATOR
    numbers += FIRST_NUMBER
    symbols += FIRST_OPERATOR
    slots, count = numbers.shape
    tokens = np.full((count, max_length), PAD, np.int32)
    flat = tokens.reshape(-1)
    row = np.arange(count) * max_length
    end = row - 1
    # Slot by slot, so that all intermediate arrays stay in the cache.
    for slot in range(slots):
        number_at = end + opens[slot] + 1
        end = number_at + closes[slot] + 1
        flat[number_at] = numbers[slot]
        flat[end] = symbols[slot]
        for brackets, token, side in (opens[slot], OPEN, -1), (closes[slot], CLOSE, 1):
            depth = 1
            while (bracketed := np.flatnonzero(brackets >= depth)).size:
                flat[number_at[bracketed] + side * depth] = token
                depth += 1
        if slot == lines[0].shape[1] - 1:
            prompt_end = (end - row).astype(np.int32)
    return Examples(tokens, np.arange(max_length, dtype=np.int32) <= prompt_end[:, None])
