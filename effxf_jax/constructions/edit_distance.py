"""Programs for the edit distance of two strings.

For strings of equal length n the position of a token determines the row i and the column j of the entry that
is written next, and where the letters and the other entries stand. The sequence consists of blocks of n + 1
tokens: the first string and its `|`, the second and its `<sep>`, then the rows of the matrix, each with its
comma.
"""

import functools
import math
from collections.abc import Mapping

import numpy as np

from effxf_jax.constructions import recurrence
from effxf_jax.constructions.edit_distance_plans import Plan, Plans, found_plans, plan
from effxf_jax.constructions.program import (
    Address,
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
    MAX_LONGER,
    SEP,
    SUBSTITUTION,
    EditDistance,
)
from effxf_jax.tasks.task import EOS

# An entry differs from the one two rows above it by two gaps at most.
_MOST_CHANGE = 2 * GAP
BLOCK_SIZE = 32  # of block routing: as many positions as a digit of an address has values


def standard(task: EditDistance) -> Program:
    """Standard attention: four heads look up the letters, the entry above and the one on the diagonal.

    The strings may differ in length. Then the first layer finds the `<sep>` between the strings and the
    matrix, and the second chooses among the addresses for the six pairs of lengths that there may be. The
    width does not depend on n, except for the digits of the addresses.
    """
    program, value, letter = _begin(task)
    plans = found_plans(program, task)
    here = np.arange(task.max_length)
    code = Digits(task.max_length, BLOCK_SIZE)
    at = program.address('here', code, here)
    diagonal = lambda of: np.where(of.column > 1, here - of.columns - 1, here)
    # The answer is the last entry, two positions before the one that writes the answer.
    places = {
        'first': (lambda of: np.where(of.row > 0, of.row - 1, here), letter),
        'second': (lambda of: np.where(of.row > 0, of.rows + of.column, here), letter),
        'above': (lambda of: np.where(of.row > 1, here - of.columns, here), value),
        'diagonal': (lambda of: np.where(of.row > 1, diagonal(of), here - 2 * of.is_answer), value),
    }
    addresses = {name: plans.address(f'{name} at', code, where) for name, (where, _) in places.items()}
    ending = _Ending(program, task, plans)
    layer = program.layer()
    found = {}
    for name, (_, source) in places.items():  # within the strings no position may be found
        query = addresses[name].registers
        found |= {name: layer.find(query, at.registers, [source], [name], gap=code.gap)[0]}
    ending.add(layer, value, found)
    return program


def routed(task: EditDistance) -> Program:
    """Block routing: what `standard` looks up, in the own block of BLOCK_SIZE positions or in the chosen one.

    All positions of a block have the same digits except the last, whose values lie all around its circle. So
    the mean of their addresses is the address of the block, and a query chooses the block of its position.
    """
    return standard(task)


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
    nowhere = program.of_position('no entry is next', of.row == 0)
    _finish(program, task, of, layer, value, found, nowhere)
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


def delta(task: EditDistance) -> Program:
    """The delta rule with tables that later rows overwrite exactly: width O(sqrt n) = O(L^(1/4)).

    The first layer keeps the last numbers or letters, each at its place within a group of a block: a table
    with a row for each such place, which is read whole. The last position of a group so has the whole group,
    and writes it to a second table, with a row for each group. Rows of odd and even number have rows of the
    table of their own, so that one is read while the next one is written.
    """
    of, n = plan(task), task.n
    size = n + 1
    group = math.isqrt(2 * size - 1) + 1  # a head has a row for each group of two blocks
    groups = -(-size // group)
    program, value, letter = _begin(task)
    table = _Table(task, program, value + letter, of.place % group, np.ones(len(of.place)), group)
    at_place = program.address('place in group', OneHot(group), of.place % group)
    layer = program.layer()
    everywhere = [Expression({}, 1.0)] * group
    latest = layer.recall(everywhere, at_place.choice(), table.values, table.names('latest'), rows=group)

    own = of.place // group
    ends = (of.place % group == group - 1) | (of.place == n)
    is_row = (of.block >= 2) & (of.block <= n + 1)
    code = OneHot(2 * groups)
    half = of.block % 2 * groups
    places, blocks = _places(of, n), _blocks(of, n)

    def read(name: str, block: str, writes: np.ndarray) -> list[Register]:
        # A position that reads nothing reads the first row of the table, which has small numbers.
        wanted = np.where(places[name] >= 0, blocks[block] % 2 * groups + places[name] // group, 0)
        return layer.recall(
            program.address(f'{name} wanted', code, wanted).choice(),
            program.address('row', code, half + own).choice(),
            latest,
            table.names(name),
            idle=program.of_position(f'writes no row for {name}', ~(ends & writes)),
        )

    layer = program.layer()
    rows = {
        'first': read('first', 'first', of.block < 2),
        'second': read('second', 'second', of.block < 2),
        'above': read('above', 'above', is_row),
        'diagonal': read('diagonal', 'above', is_row),
    }
    within = {name: np.where(place >= 0, place % group, -1) for name, place in places.items()}
    _finish(program, task, of, program.layer(), value, table.pick(layer, rows, within))
    return program


def _most(task: EditDistance) -> float:
    longer = 0 if task.lengths == 'equal' else MAX_LONGER
    return recurrence.bound(SUBSTITUTION * task.n + BORDERS[task.border] * longer)


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
    program: Program, task: EditDistance, of: Plan, layer: Layer, before, found, nowhere=None
) -> None:
    """Adds the least of the three ways to an entry, and the logits, for one plan; see `_Ending.add`."""
    _Ending(program, task, Plans(program, [of])).add(layer, before, found, nowhere)


class _Ending:
    """The last layers: the least of the three ways to an entry, and what is written."""

    def __init__(self, program: Program, task: EditDistance, plans: Plans):
        self._program, self._task = program, task
        step, most = BORDERS[task.border], _most(task)
        # The answer is the entry on the diagonal, so the others must not be less.
        borders = {
            'above': lambda of: ((of.row == 1) | of.is_answer, step * of.column),
            'before': lambda of: ((of.column == 1) | of.is_answer, step * of.row),
            'diagonal': lambda of: ((of.row == 1) | (of.column == 1), step * (of.row + of.column - 2)),
        }

        def of_border(of: Plan, name: str) -> np.ndarray:
            on_border, entry = borders[name](of)
            return np.where(on_border, np.where(of.is_answer, most, entry), 0)

        self._borders = {
            name: (
                plans.register(f'{name} is on the border', lambda of, name=name: borders[name](of)[0]),
                plans.register(f'border {name}', functools.partial(of_border, name=name)),
            )
            for name in borders
        }
        self._flags = {
            COMMA: plans.register('comma is next', lambda of: of.is_comma),
            SEP: plans.register('<sep> is next', lambda of: of.is_separator),
            EOS: plans.register('the end is next', lambda of: of.is_end),
        }

    def add(
        self,
        layer: Layer,
        before: Register,
        found: Mapping[str, Register],
        nowhere: Register | None = None,
    ) -> None:
        """Adds two layers and the logits.

        Args:
            layer: a layer that can read the other registers.
            before: the number at the position, which is the entry before the one that is written next.
            found: 'first' and 'second', the letters of the two strings; 'above' and 'diagonal', these entries
                where they are not on the border, and where the answer is written next the last entry,
                'diagonal'.
            nowhere: given, where this is 1 the letters may differ although no entry is written next.
        """
        most = _most(self._task)
        entries = {'above': found['above'], 'before': before, 'diagonal': found['diagonal']}
        ways = {name: Way(entry, *self._borders[name]) for name, entry in entries.items()}
        letters = found['first'], found['second']
        entry = recurrence.next_entry(self._program, layer, ways, letters, most, nowhere)
        recurrence.write_number(self._program, range(FIRST_NUMBER, self._task.vocabulary.size), 0, entry)
        recurrence.write_where(self._program, most, self._flags)
