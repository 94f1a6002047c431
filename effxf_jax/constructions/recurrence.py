"""The recurrence of edit distance as layers, for the tasks that fill in its matrix.

An entry is the least of the entry above plus 2, the entry before plus 2, and the entry on the diagonal plus 3
where the letters differ.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from effxf_jax.constructions.program import Address, Layer, Program, Register, relu
from effxf_jax.tasks.edit_distance import GAP, LETTERS, SUBSTITUTION


class Way(NamedTuple):
    """One of the entries that the next one follows from.

    Attributes:
        entry: the register that holds it, where it is not on the border.
        on_border: the register that says whether it is on the border, as 0 or 1.
        border: the register that holds its value there, and 0 elsewhere.
    """

    entry: Register
    on_border: Register
    border: Register


def bound(largest: int) -> float:
    """A number above all entries and letters; gates are no larger, since they enlarge errors."""
    return float(max(largest, LETTERS) + GAP)


def begin(
    vocabulary_size: int, max_length: int, first_letter: int, first_number: int
) -> tuple[Program, Register, Register]:
    """A program with the number and the letter, from 1, of a token as registers, zero for other tokens."""
    program = Program(vocabulary_size, max_length)
    ids = np.arange(vocabulary_size)
    letters = (ids >= first_letter) & (ids < first_letter + LETTERS)
    value = program.of_token('value', np.maximum(ids - first_number, 0))
    letter = program.of_token('letter', np.where(letters, ids - first_letter + 1, 0))
    return program, value, letter


def read(
    program: Program, layer: Layer, at: Address, places: Mapping[str, tuple[np.ndarray, Register]], **how
) -> dict[str, Register]:
    """By name, what a register holds where a position has an address, which is given for each position."""
    return {
        name: layer.look_up(program.address(f'{name} at', at.code, where), at, [source], [name], **how)[0]
        for name, (where, source) in places.items()
    }


def next_entry(
    program: Program,
    layer: Layer,
    ways: Mapping[str, Way],
    letters: tuple[Register, Register],
    most: float,
    nowhere: Register | None = None,
) -> Register:
    """Adds two layers that compute the entry that is written next.

    Args:
        program: the program.
        layer: a layer that can read the other registers.
        ways: by name, 'above', 'before' and 'diagonal'.
        letters: the letters of the two strings.
        most: see `bound`.
        nowhere: where this is 1, not 0, the letters do not count as different.
    """
    entries = {}
    for name, way in ways.items():
        entries[name] = layer.set(f'entry {name}', relu(way.entry - most * way.on_border) + way.border)
    more, less = letters[0] - letters[1], letters[1] - letters[0]
    if nowhere is not None:
        more, less = more - most * nowhere, less - most * nowhere
    differ = layer.set('differ', relu(more) + relu(less) - relu(more - 1) - relu(less - 1))

    layer = program.layer()
    gap = layer.set('by a gap', entries['above'] - relu(entries['above'] - entries['before']) + GAP)
    substitution = layer.set('by the diagonal', entries['diagonal'] + SUBSTITUTION * differ)
    layer = program.layer()
    return layer.set('entry', gap - relu(gap - substitution))


def write_number(program: Program, tokens: range, smallest: int, number: Register) -> None:
    """Writes tokens that stand for smallest, smallest + 1 ...; the score of k is 2 k number - k^2."""
    for k, token in enumerate(tokens, smallest):
        program.write(token, 2 * k * number - k**2)


def write_where(program: Program, most: float, flags: Mapping[int, Register]) -> None:
    """Writes tokens where their flag is 1, not 0, rather than any number up to `most`."""
    large = (4 * most) ** 2
    for token, flag in flags.items():
        program.write(token, 2 * large * flag - large)


def only_where(program: Program, most: float, tokens: range, name: str, where: np.ndarray) -> None:
    """Lets tokens that stand for numbers up to `most` be written only where a flag is set."""
    shut = (4 * most) ** 2 * program.of_position(f'no {name} is next', ~where)
    for token in tokens:
        program.write(token, program.logits[token] - shut)
