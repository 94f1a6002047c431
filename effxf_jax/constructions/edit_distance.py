"""Programs for the edit distance of two strings of equal length n.

The position of a token determines the row i and the column j of the entry that is written next, and where the
letters and the other entries stand. The sequence consists of blocks of n + 1 tokens: the first string and its
`|`, the second and its `<sep>`, then the rows of the matrix, each with its comma.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from effxf_jax.constructions import recurrence
from effxf_jax.constructions.program import (
    Address,
    ConstructionError,
    Digits,
    Expression,
    Layer,
    OneHot,
    Program,
    Register,
    relu,
)
from effxf_jax.constructions.recurrence import Way, read
from effxf_jax.tasks.edit_distance import (
    BORDERS,
    COMMA,
    FIRST_LETTER,
    FIRST_NUMBER,
    GAP,
    SEP,
    SUBSTITUTION,
    EditDistance,
)
from effxf_jax.tasks.task import EOS

# An entry differs from the one two rows above it by two gaps at most.
_MOST_CHANGE = 2 * GAP


class Plan(NamedTuple):
    """What every position writes next, `[max_length]`.

    Attributes:
        row, column: i and j, from 1, of the entry written next; 0 where it is none.
        is_comma, is_separator, is_answer, is_end: whether this is written next.
        block, place: the block of n + 1 tokens that the position itself is in, and its place there.
    """

    row: np.ndarray
    column: np.ndarray
    is_comma: np.ndarray
    is_separator: np.ndarray
    is_answer: np.ndarray
    is_end: np.ndarray
    block: np.ndarray
    place: np.ndarray


def plan(task: EditDistance) -> Plan:
    """The plan of a task.

    Raises:
        ConstructionError: its strings may differ in length, or its answer is written without the chain.
    """
    if task.lengths != 'equal' or task.answer_mode != 'chain':
        raise ConstructionError(
            "the construction is of edit distance with lengths='equal' and answer_mode='chain'; "
            f'got {task.lengths!r} and {task.answer_mode!r}'
        )
    size = task.n + 1
    here = np.arange(task.max_length)
    row, column = np.divmod(here + 1 - 2 * size, size)
    in_matrix = (row >= 0) & (row < task.n)
    is_entry = in_matrix & (column < task.n)
    after = here + 1 - size * (task.n + 2)
    return Plan(
        np.where(is_entry, row + 1, 0),
        np.where(is_entry, column + 1, 0),
        in_matrix & (column == task.n),
        after == 0,
        after == 1,
        after == 2,
        here // size,
        here % size,
    )


def standard(task: EditDistance) -> Program:
    """Standard attention: four heads look up the letters, the entry above and the one on the diagonal.

    The width does not depend on n, except for the digits of the addresses.
    """
    of, n = plan(task), task.n
    program, value, letter = _begin(task)
    here = np.arange(task.max_length)
    at = program.address('here', Digits(task.max_length), here)
    diagonal = np.where(of.column > 1, here - n - 1, here)
    # The answer is the last entry, two positions before the one that writes the answer.
    places = {
        'first': (np.where(of.row > 0, of.row - 1, here), letter),
        'second': (np.where(of.row > 0, n + of.column, here), letter),
        'above': (np.where(of.row > 1, here - n, here), value),
        'diagonal': (np.where(of.row > 1, diagonal, here - 2 * of.is_answer), value),
    }
    layer = program.layer()
    _finish(program, task, of, layer, value, read(program, layer, at, places))
    return program


def strided(task: EditDistance) -> Program:
    """Strided blocks of n + 1: a position sees the last n + 1 positions, and its own place in earlier blocks.

    Every position first reads the letters at its own place of both strings; then it finds those that it needs
    among the last n + 1 positions, as it finds the entries. The width is that for standard attention.
    """
    of, n = plan(task), task.n
    size = n + 1
    program, value, letter = _begin(task)
    here = np.arange(task.max_length)
    at = program.address('here', Digits(task.max_length), here)
    in_columns = {
        'first here': (of.place, letter),
        'second here': (np.where(of.block, size + of.place, here), letter),
    }
    own = read(program, program.layer(), at, in_columns)
    latest = here - (here - of.row + 1) % size  # the last position whose place is the row's
    before_diagonal = np.where(of.column > 1, here - size, here)
    places = {
        'first': (np.where(of.row > 0, latest, here), own['first here']),
        'second': (np.where(of.row > 0, here - n, here), own['second here']),
        'above': (np.where(of.row > 1, here - n, here), value),
        'diagonal': (np.where(of.row > 1, before_diagonal, here - 2 * of.is_answer), value),
    }
    layer = program.layer()
    found = read(program, layer, at, places)
    _finish(program, task, of, layer, value, found, letters_elsewhere=True)
    return program


def fixed(task: EditDistance) -> Program:
    """Fixed blocks of n + 1 with summaries of one position: the last position of a block gathers the block.

    A position lays its number or letter at its place among n + 1 registers; a block's last position reads the
    sum of its block, and later positions read these sums. The width is O(n) = O(sqrt L).
    """
    of, n = plan(task), task.n
    size = n + 1
    program, value, letter = _begin(task)
    table = _Table(task, program, value + letter, of.place, np.ones(len(of.place)), size)
    code = Digits(n + 4, base=4)  # small scores, since all weights within a block must be equal
    block = program.address('block', code, of.block)
    layer = program.layer()
    # The mean, and only later the sum: where a block is not complete, its sum would be large.
    gathered = layer.look_up(block, block, table.values, table.names('gathered'))
    # Other positions than a block's last have the address n + 3, which none of those that read has.
    own = np.where(of.place == n, of.block, n + 3)
    summary = program.address('summary', code, own)
    blocks = {name: np.where(wanted >= 0, wanted, own) for name, wanted in _blocks(of, n).items()}
    layer = program.layer()
    rows = table.read(layer, summary, blocks, gathered)
    found = table.pick(layer, rows, _places(of, n))
    _finish(program, task, of, program.layer(), value, found)
    return program


def linear_table(task: EditDistance) -> Program:
    """Linear attention with a table of all blocks, each a feature of the keys: width O(n) = O(sqrt L).

    A position lays its number or letter at its place among n + 1 values; a block's row of the table is their
    sum, of which a read gives the mean over the block's n + 1 positions.
    """
    of, n = plan(task), task.n
    size = n + 1
    program, value, letter = _begin(task)
    table = _Table(task, program, value + letter, of.place, np.ones(len(of.place)), size)
    code = OneHot(n + 3)
    block = program.address('block', code, of.block)
    # A position that reads nothing reads the first block, which has small sums.
    blocks = {name: np.maximum(wanted, 0) for name, wanted in _blocks(of, n).items()}
    layer = program.layer()
    rows = table.read(layer, block, blocks, table.values)
    found = table.pick(layer, rows, _places(of, n))
    _finish(program, task, of, program.layer(), value, found)
    return program


def linear_overwriting(task: EditDistance) -> Program:
    """Linear attention with tables of one row, which later rows overwrite: width O(sqrt n) = O(L^(1/4)).

    A place is split into a group, which is a feature of the keys, and a place within the group, where the
    value stands. Keys weigh exponentially more in later rows, and rows of odd and even number have keys of
    their own, so that a row is read whole while the next one is written.
    """
    of, n = plan(task), task.n
    size = n + 1
    group = math.isqrt(size - 1) + 1
    groups = -(-size // group)
    program, value, letter = _begin(task)
    # The last group may be smaller, and a read gives the mean of a group.
    members = np.minimum(group, size - of.place // group * group)
    table = _Table(task, program, value + letter, of.place % group, members / group, group)
    own = of.place // group
    code = OneHot(2 * groups)
    is_row = (of.block >= 2) & (of.block <= n + 1)
    of_letters = program.address('letters key', code, np.where(of.block < 2, of.block * groups + own, -1))
    of_rows = program.address('row key', code, np.where(is_row, of.block % 2 * groups + own, -1))
    age = program.of_position('age', np.where(is_row, n + 1 - of.block, 0))
    places, blocks = _places(of, n), _blocks(of, n)

    def wanted(half, *names):
        return {
            name: np.where(places[name] >= 0, half(name) * groups + places[name] // group, -1)
            for name in names
        }

    layer = program.layer()
    letters = wanted(blocks.get, 'first', 'second')
    entries = wanted(lambda _: blocks['above'] % 2, 'above', 'diagonal')
    rows = table.read(layer, of_letters, letters, table.values)
    rows |= table.read(layer, of_rows, entries, table.values, age=age, change=_MOST_CHANGE)
    layer = program.layer()
    within = {name: np.where(place >= 0, place % group, -1) for name, place in places.items()}
    _finish(program, task, of, program.layer(), value, table.pick(layer, rows, within))
    return program


def _most(task: EditDistance) -> float:
    return recurrence.bound(SUBSTITUTION * task.n)


def _begin(task: EditDistance) -> tuple[Program, Register, Register]:
    return recurrence.begin(task.vocabulary.size, task.max_length, FIRST_LETTER, FIRST_NUMBER)


def _blocks(of: Plan, n: int) -> dict[str, np.ndarray]:
    """The blocks whose letters or entries a position needs; -1 where it needs none."""
    above = np.where(of.row > 1, of.row, -1)  # row i is block i + 1
    return {
        'first': np.where(of.row > 0, 0, -1),
        'second': np.where(of.row > 0, 1, -1),
        'above': np.where(of.is_answer, n + 1, above),
    }


def _places(of: Plan, n: int) -> dict[str, np.ndarray]:
    """The places, within blocks, of the letters and entries that a position needs; -1 where it needs none."""
    inside = of.row > 1
    return {
        'first': of.row - 1,
        'second': of.column - 1,
        'above': np.where(inside, of.column - 1, -1),
        'diagonal': np.where(of.is_answer, n - 1, np.where(inside & (of.column > 1), of.column - 2, -1)),
    }


class _Table:
    """Registers for the places of a block; a position's number stands in the one for its place."""

    def __init__(
        self,
        task: EditDistance,
        program: Program,
        number: Expression,
        place: np.ndarray,
        weight: np.ndarray,
        size: int,
    ):
        """Adds a layer in which every position lays `weight` times its number at its place."""
        self._program, self._size, self._most = program, size, _most(task)
        layer = program.layer()
        self.values = []
        for i in range(size):
            total = Expression({}, 0.0)
            for factor in np.unique(weight):
                closed = program.of_position(
                    f'not place {i} of {factor:g}', (place != i) | (weight != factor)
                )
                total = total + float(factor) * relu(number - self._most * closed)
            self.values.append(layer.set(f'at {i}', total))

    def names(self, name: str) -> list[str]:
        """Names for registers that hold a row of the table."""
        return [f'{name} {i}' for i in range(self._size)]

    def read(
        self, layer: Layer, key: Address, wanted: Mapping[str, np.ndarray], values: list[Register], **how
    ) -> dict[str, list[Register]]:
        """By name, rows of the table: as many times the mean of what has the wanted key as it has places."""
        return {
            name: layer.look_up(
                self._program.address(f'{name} wanted', key.code, addresses),
                key,
                values,
                self.names(name),
                factor=self._size,
                **how,
            )
            for name, addresses in wanted.items()
        }

    def pick(
        self, layer: Layer, rows: Mapping[str, list[Register]], places: Mapping[str, np.ndarray]
    ) -> dict[str, Register]:
        """By name, the number at a place of a row, or zero where the place is -1.

        The diagonal is picked from the row above if it has none of its own.
        """
        picked = {}
        for name, place in places.items():
            total = Expression({}, 0.0)
            for i, register in enumerate(rows.get(name, rows['above'])):
                closed = self._program.of_position(f'{name} not at {i}', place != i)
                total = total + relu(register - self._most * closed)
            picked[name] = layer.set(name, total)
        return picked


def _finish(
    program: Program,
    task: EditDistance,
    of: Plan,
    layer: Layer,
    before: Register,
    found: Mapping[str, Register],
    letters_elsewhere: bool = False,
) -> None:
    """Adds the least of the three ways to an entry, and the logits; two layers.

    Args:
        program: the program.
        task: the task.
        of: its plan.
        layer: a layer that can read the other registers.
        before: the number at the position, which is the entry before the one that is written next.
        found: 'first' and 'second', the letters of the two strings; 'above' and 'diagonal', these entries
            where they are not on the border, and where the answer is written next the last entry, 'diagonal'.
        letters_elsewhere: whether the letters may differ where no entry is written next.
    """
    step, most = BORDERS[task.border], _most(task)
    answer, on_top, on_left = of.is_answer, of.row == 1, of.column == 1
    # The answer is the entry on the diagonal, so the others must not be less.
    ways = {
        'above': Way(found['above'], on_top | answer, np.where(answer, most, step * of.column)),
        'before': Way(before, on_left | answer, np.where(answer, most, step * of.row)),
        'diagonal': Way(found['diagonal'], on_top | on_left, step * (of.row + of.column - 2)),
    }
    nowhere = of.row == 0 if letters_elsewhere else None
    letters = found['first'], found['second']
    entry = recurrence.next_entry(program, layer, ways, letters, most, nowhere)

    recurrence.write_number(program, range(FIRST_NUMBER, task.vocabulary.size), 0, entry)
    flags = (COMMA, 'comma', of.is_comma), (SEP, '<sep>', of.is_separator), (EOS, 'end', of.is_end)
    recurrence.write_where(program, most, flags)
