"""What every position of an edit distance's chain writes next, which depends on the strings' lengths.

For strings of equal length the position alone determines it. For the published strings a program finds out
which of six pairs of lengths holds.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from effxf_jax.constructions.program import Address, Digits, Expression, Program, Register, relu
from effxf_jax.tasks.edit_distance import MAX_LONGER, MAX_SHORTER, SEP, EditDistance

_FLAG = 16.0


class Plan(NamedTuple):
    """What every position writes next, for strings of two given lengths, `[max_length]`.

    Attributes:
        row, column: i and j, from 1, of the entry written next; 0 where it is none.
        is_comma, is_separator, is_answer, is_end: whether this is written next.
        block, place: the block of a row's length that the position itself is in, and its place there.
        rows, columns: the strings' lengths.
    """

    row: np.ndarray
    column: np.ndarray
    is_comma: np.ndarray
    is_separator: np.ndarray
    is_answer: np.ndarray
    is_end: np.ndarray
    block: np.ndarray
    place: np.ndarray
    rows: int
    columns: int


def plan(task: EditDistance) -> Plan:
    """The plan of a task with strings of equal length."""
    return plan_of(task.n, task.n, task.max_length)


def plan_of(rows: int, columns: int, max_length: int) -> Plan:
    """The plan for strings of these lengths."""
    size, start = columns + 1, rows + columns + 2
    here = np.arange(max_length)
    row, column = np.divmod(here + 1 - start, size)
    in_matrix = (row >= 0) & (row < rows)
    is_entry = in_matrix & (column < columns)
    after = here + 1 - start - rows * size
    return Plan(
        np.where(is_entry, row + 1, 0),
        np.where(is_entry, column + 1, 0),
        in_matrix & (column == columns),
        after == 0,
        after == 1,
        after == 2,
        here // size,
        here % size,
        rows,
        columns,
    )


class Plans:
    """Registers that depend on the position and, if there are several plans, on which of them holds."""

    def __init__(self, program: Program, plans: Sequence[Plan], holds: Sequence[Register] = ()):
        """Adds, for several plans, a layer that chooses by what `holds` says of each, as 0 or 1."""
        self._program, self._plans, self._holds = program, plans, holds
        self._layer = program.layer() if holds else None

    def register(self, name: str, value: Callable[[Plan], np.ndarray]) -> Register:
        """A register with the value, `[max_length]`, of the plan that holds."""
        return self._choose(name, [np.asarray(value(of), float) for of in self._plans])

    def address(self, name: str, code: Digits, addresses: Callable[[Plan], np.ndarray]) -> Address:
        """An address of the plan that holds; `addresses` is int `[max_length]`."""
        codes = [code.encode(addresses(of)) for of in self._plans]
        registers = [self._choose(f'{name}.{i}', [x[:, i] for x in codes]) for i in range(code.width)]
        return Address(code, tuple(registers))

    def _choose(self, name: str, values: Sequence[np.ndarray]) -> Register:
        if all(np.array_equal(values[0], other) for other in values):
            return self._program.of_position(name, values[0])
        least = float(min(x.min() for x in values))
        span = float(max(x.max() for x in values)) - least
        total = Expression({}, least)
        for number, (of_plan, holds) in enumerate(zip(values, self._holds, strict=True)):
            known = self._program.of_position(f'{name}, plan {number}', of_plan)
            total = total + relu(known - least + span * (holds - 1))
        return self._layer.set(name, total)


def _lengths(task: EditDistance) -> list[tuple[int, int]]:
    """The lengths that the two strings may have; no two pairs have the same sum."""
    n = task.n
    if task.lengths == 'equal':
        return [(n, n)]
    shorter = [(rows, n) for rows in range(max(1, n - MAX_SHORTER), n)]
    return shorter + [(n, n + more) for more in range(MAX_LONGER + 1)]


def found_plans(program: Program, task: EditDistance) -> Plans:
    """The plans of all pairs of lengths; a layer finds the first `<sep>`, which tells them apart."""
    lengths = _lengths(task)
    plans = [plan_of(*pair, task.max_length) for pair in lengths]
    if len(plans) == 1:
        return Plans(program, plans)
    here = np.arange(task.max_length)
    sums = [sum(pair) for pair in lengths]
    separator = program.of_token('is <sep>', _FLAG * (np.arange(task.vocabulary.size) == SEP))
    early = program.of_position('may be the first <sep>', _FLAG * (here <= max(sums) + 1))
    which = program.of_position('sum of lengths', np.clip(here - min(sums), 0, len(sums) + 1))
    layer = program.layer()
    always = Expression({}, _FLAG)
    (found,) = layer.find([always, always], [separator, early], [which], ['found sum'], gap=_FLAG**2)
    holds = []
    for pair, total in zip(lengths, sums, strict=True):
        beyond = found - (total - min(sums) + 1)
        rise = relu(beyond + 0.75) - relu(beyond + 0.25)
        holds.append(layer.set(f'lengths are {pair}', 2 * (rise - relu(beyond - 0.25) + relu(beyond - 0.75))))
    return Plans(program, plans, holds)
