"""Solves word problems: one derived quantity a step, after its operands."""

from typing import NamedTuple

import numpy as np

from effxf_jax.tasks.words.grammar import BASE, FEWER, MINUS, MORE, PLUS, WISH, Sentences


class Solution(NamedTuple):
    """A right chain; entries are 0 from the first step on that is not possible.

    Attributes:
        order: the place of each step's sentence, int32 `[count, steps]`.
        left, right: the operands, as a step writes them, int32 `[count, steps]`.
        operator: an index of grammar.OPERATORS, int32 `[count, steps]`.
        value: the derived quantities, int32 `[count, steps]`.
        answer: the quantity that is asked for, int32 `[count]`.
        possible: whether every step is: its operands are known and its result is in range, bool `[count]`.
    """

    order: np.ndarray
    left: np.ndarray
    right: np.ndarray
    operator: np.ndarray
    value: np.ndarray
    answer: np.ndarray
    possible: np.ndarray


def derive(kind: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What kinds of sentence derive from operands `[count]`: the results, int64, and the operators."""
    operator = np.select([np.isin(kind, (MORE, PLUS)), np.isin(kind, (FEWER, MINUS))], [0, 1], 2)
    first, second = first.astype(np.int64), second.astype(np.int64)
    return np.select(
        [operator == 0, operator == 1], [first + second, first - second], first * second
    ), operator


def solve(
    told: Sentences,
    *,
    steps: int,
    largest: int,
    names: int,
    is_story: bool,
    written: np.ndarray | None = None,
) -> Solution:
    """Solves problems. A step takes a possible sentence that uses the newest quantity, or the first told.

    Sentences that say `had` wait for those that say `has` of the same quantity, so no more quantities are
    alive than in the order in which the problem was drawn. Where all wait for each other, the first one goes.

    Args:
        told: the sentences.
        steps, largest, names: the options of `WordProblems`.
        is_story: sentences come in the order of the steps, and a name may get a new quantity.
        written: whose quantity each step should derive if this is possible, `[count, steps]`; any integers.
    """
    count, sentences = told.kind.shape
    rows, places = np.arange(count), np.arange(sentences)
    is_base, is_binary = told.kind == BASE, told.kind >= PLUS
    value = np.full((count, names), -1, np.int32)  # -1: not known
    left_over = told.kind > WISH
    read_until = np.zeros(count, int)
    references = np.zeros((count, names), int)  # by name, those to come that say `has`
    for operand, stays in (
        (told.first, left_over & told.first_left),
        (told.second, is_binary & told.second_left),
    ):
        row, place = np.nonzero(stays)
        np.add.at(references, (row, operand[row, place]), 1)
    newest = np.full(count, -1)
    possible = np.ones(count, bool)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in Solution._fields[:5]}

    def read_bases(where):
        row, place = np.nonzero(is_base & where)
        value[row, told.subject[row, place]] = told.number[row, place]

    at = rows[:, None]

    def waits(operand, stays):
        """Whether a sentence uses up an operand that another one refers to before."""
        return ~stays & (references[at, operand] > 0)

    if not is_story:
        read_bases(True)
    for step in range(steps):
        if is_story:
            place = left_over.argmax(axis=1)
            read_bases((places >= read_until[:, None]) & (places < place[:, None]))
            read_until = place
        else:
            known = (value[at, told.first] >= 0) & (~is_binary | (value[at, told.second] >= 0))
            ready = left_over & known
            must_wait = waits(told.first, told.first_left) | is_binary & waits(told.second, told.second_left)
            free = ready & ~must_wait
            goes_on = free & ((told.first == newest[:, None]) | is_binary & (told.second == newest[:, None]))
            place = _first_of(goes_on, free, ready)
            if written is not None:
                wanted = ready & (told.subject == written[:, step, None])
                place = np.where(wanted.any(axis=1), wanted.argmax(axis=1), place)
        kind, first = told.kind[rows, place], value[rows, told.first[rows, place]]
        other = value[rows, told.second[rows, place]]
        second = np.where(is_binary[rows, place], other, told.number[rows, place])
        result, operator = derive(kind, first, second)
        possible &= (
            left_over[rows, place] & (first >= 0) & (second >= 0) & (result >= 0) & (result <= largest)
        )
        left_over[rows, place] = False
        newest = told.subject[rows, place]
        references[rows, told.first[rows, place]] -= told.first_left[rows, place]
        references[rows, told.second[rows, place]] -= is_binary[rows, place] & told.second_left[rows, place]
        value[rows, told.subject[rows, place]] = np.where(possible, result, 0)
        for column, entries in zip(columns.values(), (place, first, second, operator, result), strict=True):
            column.append(np.where(possible, entries, 0))
    stacked = {name: np.stack(column, axis=1).astype(np.int32) for name, column in columns.items()}
    return Solution(**stacked, answer=np.maximum(value[rows, told.asked], 0), possible=possible)


def _first_of(*choices: np.ndarray) -> np.ndarray:
    """The first place of the first choice, bool `[count, places]`, that has any, `[count]`; otherwise 0."""
    place = np.zeros(len(choices[0]), int)
    for choice in reversed(choices):
        place = np.where(choice.any(axis=1), choice.argmax(axis=1), place)
    return place
