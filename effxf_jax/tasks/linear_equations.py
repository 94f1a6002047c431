"""Systems of linear equations modulo a prime, solved by Gauss-Jordan elimination.

    1 a + 5 b + 7 c = 5 , 8 a + 2 b + 3 c = 10 , 1 a + 0 b + 7 c = 1 <sep>
    a + 5 b + 7 c = 5 , 6 b + 2 c = 3 , 6 b + 0 c = 7 <sep> a + 9 c = 8 , b + 4 c = 6 , 9 c = 4 <sep>
    a = 4 , b = 3 , c = 9

(one row of tokens). After each pivot the whole system is written again: of the equations from the pivot's
own on, the first in which the variable occurs is swapped up and scaled, and the variable is eliminated from
all others. A variable that has been a pivot is written without its coefficient 1 and omitted where its
coefficient is 0, so the last state is the solution. Form and distribution, uniform over systems with exactly
one solution, are those of the generator published by Feng et al. (NeurIPS 2023, arXiv 2305.15408).
"""

import dataclasses
import functools
import string
from typing import ClassVar, NamedTuple

import numpy as np

from effxf_jax.tasks.modular import inverses, modulus_problems
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

# Token ids; variable x is the token FIRST_VARIABLE + x, and the numbers come after the n variables.
SEP, COMMA, PLUS, EQUALS = 2, 3, 4, 5
FIRST_VARIABLE = 6
NUMBER = -1  # in a layout, stands for any number


class Problems(NamedTuple):
    """Regular systems, int8 `[count, n, n + 1]`: per equation n coefficients and the right-hand side."""

    systems: np.ndarray


class Solution(NamedTuple):
    """The system before and after each pivot, int8 `[count, n + 1, n, n + 1]`; the solution, `[count, n]`."""

    states: np.ndarray
    answer: np.ndarray


@dataclasses.dataclass(frozen=True)
class LinearEquations(Task):
    """n linear equations in n variables.

    Attributes:
        n: number of equations and of variables, at most 26.
        modulus: a prime, at most 113.
        answer_mode: 'chain' or 'direct'.

    Raises:
        ValueError: naming every option that is out of range.
    """

    aliases: ClassVar = ('equations',)
    published_sizes: ClassVar = ({'n': 3}, {'n': 4}, {'n': 5})  # [ours]
    stream_options: ClassVar = ('n', 'modulus', 'answer_mode')

    n: int
    modulus: int = 11
    answer_mode: str = 'chain'

    def __post_init__(self):
        problems = []
        if not 1 <= self.n <= 26:
            problems.append(f'n must be from 1 to 26; got {self.n}')
        problems += modulus_problems(self.modulus)
        refuse_options(problems, self.answer_mode)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        variables, numbers = string.ascii_lowercase[: self.n], map(str, range(self.modulus))
        return Vocabulary.of(['<sep>', ',', '+', '=', *variables, *numbers])

    @property
    def max_length(self) -> int:
        return len(self._layout[0])

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ('<sep>',)

    def locality(self) -> int | None:
        return None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        systems = np.empty((self.n, self.n + 1, count), np.int8)
        pending = np.arange(count)
        while pending.size:
            drawn = rng.integers(self.modulus, size=(self.n, self.n + 1, len(pending)), dtype=np.int8)
            _, regular = _eliminate(drawn, self.modulus)
            systems[:, :, pending[regular]] = drawn[:, :, regular]
            pending = pending[~regular]
        return Problems(np.ascontiguousarray(np.moveaxis(systems, 2, 0)))

    def solve(self, problems: Problems) -> Solution:
        states, _ = _eliminate(np.moveaxis(problems.systems, 0, 2), self.modulus)
        states = np.ascontiguousarray(np.moveaxis(states, 3, 0))
        return Solution(states, states[:, -1, :, -1])

    def encode(self, problems: Problems) -> Examples:
        states, _ = _eliminate(np.moveaxis(problems.systems, 0, 2), self.modulus)
        count = states.shape[3]
        layout, entries = self._layout
        tokens = np.empty((count, self.max_length), np.int32)
        tokens[:] = layout
        tokens[:, layout == NUMBER] = states.reshape(-1, count)[entries].T + np.int32(self._first_number)
        given = np.arange(self.max_length) < self._prompt_length
        return Examples(tokens, np.repeat(given[None], count, axis=0))

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        systems, well_formed = self._parse(tokens)
        return np.where(well_formed[:, None], self.encode(Problems(systems)).tokens, PAD)

    def _grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        return grade_against(self.complete(tokens), tokens, given, answer_size=4 * self.n - 1)

    @property
    def hardest_length(self) -> int:
        """The length of the prompt."""
        return self._prompt_length

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The lower bound from systems whose first column is already eliminated, the upper from all systems.

        Lower: such a system equals its next state, in which n numbers of each equation are written. In the
        first equation all n are free; in the others the right-hand side is free, and the coefficients must be
        independent of those before. Any two such prefixes can be completed by the same equations, since two
        subspaces of one dimension have a common complement. Only complete equations are counted, and nothing
        after the prompt.

        Upper: the continuation is a function of the prompt's n (n + 1) numbers and the length.
        """
        n, number = self.n, np.log2(self.modulus)
        equations = length // (self._prompt_length // n) if length <= self._prompt_length else 0
        independent = np.log2(1 - self.modulus ** -np.arange(n - 1, n - equations, -1.0)).sum()
        return float(equations * n * number + independent), float(n * (n + 1) * number)

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        if SEP in tokens:
            equations = np.count_nonzero(tokens[: np.argmax(tokens == SEP)] == EQUALS)
            if equations != self.n:
                detail = f'system of {equations} equations; this task has {self.n}'
                return Fault('malformed prompt', 0, detail)
        for position, due in enumerate(self._layout[0][: self._prompt_length]):
            if position == len(tokens):
                return Fault('truncated', position, 'the text ends within the prompt')
            token = tokens[position]
            if token != due and not (due == NUMBER and token >= self._first_number):
                due = 'a number' if due == NUMBER else self.vocabulary.tokens[due]
                return Fault(
                    'malformed prompt', position, f'{self.vocabulary.tokens[token]} where {due} is expected'
                )
        if not self._parse(tokens[None])[1][0]:
            return Fault('malformed prompt', 0, 'the system is singular')
        return None

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        if self.answer_mode == 'direct':
            return 'answer'
        state = np.count_nonzero(tokens[:position] == SEP)
        start = np.flatnonzero(tokens[:position] == SEP)[-1]
        return f'state {state}, equation {np.count_nonzero(tokens[start:position] == COMMA) + 1}'

    def _sources(self, row):
        """Of an entry: the one that it replaces, that row's factor, and the pivot row's entry and pivot."""
        layout, entries = self._layout
        places = np.flatnonzero(layout == NUMBER)
        shape = (self.n + 1, self.n, self.n + 1)
        position = dict(
            zip(zip(*np.unravel_index(entries, shape), strict=True), places.tolist(), strict=True)
        )
        for state, equation, column in list(position)[self.n * (self.n + 1) :]:
            before, variable = state - 1, state - 1
            occurs = [
                i for i in range(variable, self.n) if row[position[before, i, variable]] != self._first_number
            ]
            pivot = occurs[0]
            old = pivot if equation == variable else variable if equation == pivot else equation
            operands = {(before, i, j) for i in (old, pivot) for j in (column, variable)}
            at = position[state, equation, column]
            yield at, [(at, position[operand]) for operand in sorted(operands)]

    @property
    def _first_number(self) -> int:
        return FIRST_VARIABLE + self.n

    @property
    def _prompt_length(self) -> int:
        return self.n * (3 * self.n + 2)

    @functools.cached_property
    def _layout(self) -> tuple[np.ndarray, np.ndarray]:
        """The layout of a row, the same for all.

        Returns:
            Tokens `[max_length]`, with NUMBER for numbers; and each number's index into the flat states.
        """
        tokens, entries = [], []
        state_entries = np.arange((self.n + 1) * self.n * (self.n + 1)).reshape(self.n + 1, self.n, -1)
        for state in range(self.n + 1) if self.answer_mode == 'chain' else (0, self.n):
            for equation in range(self.n):
                if equation < state:
                    tokens += [FIRST_VARIABLE + equation, PLUS]
                for variable in range(state, self.n):
                    tokens += [NUMBER, FIRST_VARIABLE + variable, PLUS]
                tokens[-1] = EQUALS
                tokens += [NUMBER, COMMA]
                entries += state_entries[state, equation, state:].tolist()
            tokens[-1] = SEP
        tokens[-1] = EOS
        return np.array(tokens, np.int32), np.array(entries)

    def _parse(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parses rows: their systems, and which rows have a regular one; other systems are undefined."""
        layout = self._layout[0][: self._prompt_length]
        prompt = np.pad(tokens, ((0, 0), (0, self._prompt_length)))[:, : self._prompt_length]
        is_number = (prompt >= self._first_number) & (prompt < self.vocabulary.size)
        well_formed = np.where(layout == NUMBER, is_number, prompt == layout).all(axis=1)
        numbers = np.where(is_number, prompt - self._first_number, 0)[:, layout == NUMBER]
        systems = numbers.reshape(-1, self.n, self.n + 1).astype(np.int8)
        _, regular = _eliminate(np.moveaxis(systems, 0, 2), self.modulus)
        return systems, well_formed & regular


def _eliminate(systems: np.ndarray, modulus: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Jordan elimination.

    Args:
        systems: int8 `[n, n + 1, count]`.

    Returns:
        The systems before and after each pivot, int8 `[n + 1, n, n + 1, count]`; and which systems are
        regular, bool `[count]`. The states of singular systems are undefined.
    """
    n, _, count = systems.shape
    inverse = inverses(modulus)
    state = systems.astype(np.int16)  # products stay below 113^2
    states = np.empty((n + 1, *systems.shape), np.int8)
    states[0] = state
    regular = np.ones(count, bool)
    for j in range(n):
        occurs = state[j:, j] != 0
        regular &= occurs.any(axis=0)
        chosen = (j + occurs.argmax(axis=0))[None, None]
        pivot = np.take_along_axis(state, chosen, axis=0)
        np.put_along_axis(state, chosen, state[j : j + 1], axis=0)
        pivot = pivot[0] * inverse[pivot[0, j]] % modulus
        state = (state - state[:, j : j + 1] * pivot) % modulus
        state[j] = pivot
        states[j + 1] = state
    return states, regular
