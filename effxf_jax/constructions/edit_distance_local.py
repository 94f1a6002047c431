"""Programs for the edit distance of a pattern of m letters to the latest part of a stream.

The position of a token determines the row i and the column j of the entry that is written next, and where
the letters and the other entries stand: none of them more than 2m + 3 positions before. Row i consists of a
letter of the stream, then letters of the pattern and entries by turns, and a comma.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from effxf_jax.constructions import recurrence
from effxf_jax.constructions.compiler import most_overwritings
from effxf_jax.constructions.program import Digits, OneHot, Program, Register
from effxf_jax.constructions.recurrence import Way, read
from effxf_jax.tasks.edit_distance import GAP, LETTERS
from effxf_jax.tasks.edit_distance_local import COMMA, FIRST_LETTER, FIRST_NUMBER, EditDistanceLocal
from effxf_jax.tasks.task import EOS


class Plan(NamedTuple):
    """What every position writes next, `[max_length]`.

    Attributes:
        row: i, from 0, of the row that the next token is in.
        column: j, from 1, of the entry or letter of the pattern that is written next; 0 where it is none.
        is_letter, is_entry, is_comma, is_answer, is_end: whether this is written next.
    """

    row: np.ndarray
    column: np.ndarray
    is_letter: np.ndarray
    is_entry: np.ndarray
    is_comma: np.ndarray
    is_answer: np.ndarray
    is_end: np.ndarray


def plan(task: EditDistanceLocal) -> Plan:
    """The plan of a task."""
    m, here = task.pattern_length, np.arange(task.max_length)
    row, place = np.divmod(here - m, task.tokens_per_row)
    in_rows = (row >= 0) & (row < task.rows)
    column = np.where(in_rows & (place <= 2 * m), (place + 1) // 2, 0)
    return Plan(
        row,
        column,
        (column > 0) & (place % 2 == 1),
        (column > 0) & (place % 2 == 0),
        in_rows & (place == 2 * m + 1),
        here == task.max_length - 3,
        here == task.max_length - 2,
    )


def recent(task: EditDistanceLocal) -> Program:
    """Softmax attention to the last 2m + 4 positions, whatever else it sees at multiples of that distance.

    Four heads look up a letter and three entries. Addresses are positions modulo 2m + 4, so that the width
    does not depend on the length of the stream.
    """
    return _softmax(task, task.locality())


def anywhere(task: EditDistanceLocal) -> Program:
    """Softmax attention to the last 2m + 4 positions, and to any others.

    This is for standard attention, and for fixed blocks of 2 (2m + 4) positions with summaries of 2m + 4.
    Addresses are positions, so that the width grows with the digits of the length.
    """
    return _softmax(task, task.max_length)


def linear(task: EditDistanceLocal) -> Program:
    """Linear attention with a table of the pattern and the last rows, a key for each place: width O(m).

    Keys weigh exponentially more in later rows. Entries of odd and even rows have keys of their own, so that
    a row is read whole while the next one is written. A key is overwritten 18 times at most, so there are
    more than two kinds of rows if the stream has more than 37.
    """
    of, m = plan(task), task.pattern_length
    program, value, letter = _begin(task)
    here = np.arange(task.max_length)
    # The row and the column of the position's own token.
    row, place = np.divmod(here - m - 1, task.tokens_per_row)
    in_rows = (row >= 0) & (row < task.rows)
    is_entry = in_rows & (place > 0) & (place % 2 == 0) & (place <= 2 * m)
    entry_change = lambda rows: GAP * min(rows, m)
    entry_rows = _kinds_of_rows(task, entry_change, at_least=2)
    entry_key = lambda row, column: row % entry_rows * m + column - 1
    entries = program.address(
        'entry key', OneHot(entry_rows * m), np.where(is_entry, entry_key(row, place // 2), -1)
    )
    letter_rows = _kinds_of_rows(task, lambda rows: LETTERS, at_least=1)
    letter_key = lambda row: m + row % letter_rows
    own = np.where(here < m, here, np.where(in_rows & (place == 0), letter_key(row), -1))
    letters = program.address('letter key', OneHot(m + letter_rows), own)
    age = program.of_position('age', np.where(in_rows, task.rows - 1 - row, 0))

    inside, first = of.is_entry & (of.row > 0), of.column == 1
    wanted_letter = np.where(of.is_letter, of.column - 1, letter_key(of.row))
    layer = program.layer()
    places = {'letter found': (np.where(of.is_letter | of.is_entry, wanted_letter, -1), letter)}
    found = read(program, layer, letters, places, age=age, change=LETTERS)
    # The answer is the last entry.
    last = entry_key(task.rows - 1, m)
    diagonal = np.where(inside & ~first, entry_key(of.row - 1, of.column - 1), -1)
    places = {
        'above': (np.where(inside, entry_key(of.row - 1, of.column), -1), value),
        'before': (np.where(of.is_entry & ~first, entry_key(of.row, of.column - 1), -1), value),
        'diagonal': (np.where(of.is_answer, last, diagonal), value),
    }
    found |= read(program, layer, entries, places, age=age, change=entry_change(entry_rows))
    _finish(program, task, of, layer, letter, found)
    return program


def _kinds_of_rows(task: EditDistanceLocal, change: Callable[[int], float], at_least: int) -> int:
    """The least number of kinds of rows in turn such that a row can overwrite the last one of its kind.

    Args:
        task: the task.
        change: by how much a value may change over a number of rows.
        at_least: the least number of kinds.
    """
    kinds = at_least
    while (task.rows - 1) / kinds > most_overwritings(change(kinds)):
        kinds += 1
    return kinds


def _softmax(task: EditDistanceLocal, addresses: int) -> Program:
    """A program that looks up positions, which have as many addresses."""
    of = plan(task)
    program, value, letter = _begin(task)
    here = np.arange(task.max_length)
    at = program.address('here', Digits(addresses), here % addresses)
    above, inside = here + 1 - task.tokens_per_row, of.is_entry & (of.row > 0)
    in_stream = here + 1 - 2 * of.column
    in_pattern = np.where(of.row > 0, above, of.column - 1)
    before_diagonal = np.where(inside & (of.column > 1), above - 2, here)
    places = {
        'letter found': (np.where(of.is_letter, in_pattern, np.where(of.is_entry, in_stream, here)), letter),
        'above': (np.where(inside, above, here), value),
        'before': (np.where(of.is_entry & (of.column > 1), here - 1, here), value),
        'diagonal': (before_diagonal - 2 * of.is_answer, value),  # the answer is the last entry
    }
    layer = program.layer()
    places = {name: (where % addresses, source) for name, (where, source) in places.items()}
    _finish(program, task, of, layer, letter, read(program, layer, at, places))
    return program


def _most(task: EditDistanceLocal) -> float:
    return recurrence.bound(GAP * task.pattern_length)


def _begin(task: EditDistanceLocal) -> tuple[Program, Register, Register]:
    return recurrence.begin(task.vocabulary.size, task.max_length, FIRST_LETTER, FIRST_NUMBER)


def _finish(program: Program, task: EditDistanceLocal, of: Plan, layer, letter: Register, found) -> None:
    """Adds the least of the three ways to an entry, and the logits; two layers.

    Args:
        program: the program.
        task: the task.
        of: its plan.
        layer: a layer that can read the other registers.
        letter: the position's own letter, which is the pattern's where an entry is written next.
        found: 'letter found', the stream's letter where an entry is written next, and the pattern's where a
            letter is; 'above', 'before' and 'diagonal', these entries where not on the border, and where
            the answer is written next the last entry, 'diagonal'.
    """
    most, answer, on_top, on_left = _most(task), of.is_answer, of.row == 0, of.column == 1
    borders = {
        'above': (on_top | answer, np.where(answer, most, GAP * of.column)),
        'before': (on_left | answer, np.where(answer, most, 0)),
        'diagonal': (on_top & ~answer | on_left, GAP * (of.column - 1)),
    }
    ways = {
        name: Way(
            found[name],
            program.of_position(f'{name} is on the border', on_border),
            program.of_position(f'border {name}', np.where(on_border, border, 0)),
        )
        for name, (on_border, border) in borders.items()
    }
    nowhere = program.of_position('letters do not count', ~of.is_entry)
    entry = recurrence.next_entry(program, layer, ways, (letter, found['letter found']), most, nowhere)

    letters = range(FIRST_LETTER, FIRST_LETTER + LETTERS)
    numbers = range(FIRST_NUMBER, task.vocabulary.size)
    recurrence.write_number(program, letters, 1, found['letter found'])
    recurrence.only_where(program, most, letters, 'letter', of.is_letter)
    recurrence.write_number(program, numbers, 0, entry)
    recurrence.only_where(program, most, numbers, 'number', of.is_entry | of.is_answer)
    comma, end = (program.of_position(*flag) for flag in (('comma', of.is_comma), ('end', of.is_end)))
    recurrence.write_where(program, most, {COMMA: comma, EOS: end})
