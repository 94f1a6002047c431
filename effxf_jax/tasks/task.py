"""The contract of a task: one dynamic-programming problem, written out as a chain of thought.

A task samples problems, solves them, writes each with its solution as one row of tokens, and judges rows
that a model wrote. Everything is a numpy array over examples; a task knows no model.
"""

import abc
import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

PAD, EOS = 0, 1

Problems = Any
"""A task's own NamedTuple of arrays `[count, ...]`."""


class Vocabulary(NamedTuple):
    """The tokens of a task; ids 0 and 1 are `<pad>` and `<eos>` in every one."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, tokens: Iterable[str]) -> 'Vocabulary':
        return cls(('<pad>', '<eos>', *tokens))

    @property
    def size(self) -> int:
        return len(self.tokens)

    def ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}


class Examples(NamedTuple):
    """Rows of tokens, one example each.

    Attributes:
        tokens: int32 `[count, max_length]`, `<pad>` after the row's `<eos>`.
        given: bool `[count, max_length]`, the tokens that a model is told; it must produce the others
            up to and including `<eos>`.
    """

    tokens: np.ndarray
    given: np.ndarray


class Grade(NamedTuple):
    """The judgement of rows that a model wrote.

    Attributes:
        answer_correct: bool `[count]`: the row ends in the right answer and `<eos>`.
        chain_correct: bool `[count]`: so it does, and every step before is legal.
        first_wrong: int32 `[count]`: the position of the first token with which no right chain goes
            on, -1 where chain_correct.
    """

    answer_correct: np.ndarray
    chain_correct: np.ndarray
    first_wrong: np.ndarray


class Task(abc.ABC):
    """One DP problem at one size. Implementations are frozen dataclasses of their options."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The tokens."""

    @property
    @abc.abstractmethod
    def max_length(self) -> int:
        """Columns of a row: the longest sequence and its `<eos>`."""

    @property
    @abc.abstractmethod
    def step_ends(self) -> tuple[str, ...]:
        """The tokens that end a step of the chain, for showing it a step a line."""

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        """Draws `count` independent problems; the draw depends on nothing but `rng`'s state."""

    @abc.abstractmethod
    def solve(self, problems: Problems) -> Any:
        """Runs the dynamic programme: its trace and its answers, a NamedTuple of arrays `[count, ...]`."""

    @abc.abstractmethod
    def encode(self, problems: Problems) -> Examples:
        """Writes each problem, its chain of thought and its answer as one row."""

    @abc.abstractmethod
    def grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        """Judges rows int `[count, length]`; anything may stand in them outside the given tokens."""

    @abc.abstractmethod
    def locality(self) -> int | None:
        """How many of the last tokens fix the next one, at any length; None where no constant does."""

    @property
    def problem_size(self) -> int:
        """The longest sequence without its `<eos>`, the paper's measure of size (Figure 1)."""
        return self.max_length - 1

    def decode_text(self, tokens: Sequence[int]) -> str:
        """A row as text: its tokens up to `<eos>`, joined by spaces."""
        row = np.asarray(tokens)
        return ' '.join(self.vocabulary.tokens[t] for t in row[: row_length(row[None])[0]])

    def parse_text(self, line: str) -> np.ndarray:
        """The ids of a line of text, int32 `[length]`, without `<eos>`.

        Raises:
            ValueError: a word is not a token of this task; the message names it and its place.
        """
        ids = self.vocabulary.ids()
        words = line.split()
        for place, word in enumerate(words):
            if word not in ids or ids[word] in (PAD, EOS):
                raise ValueError(
                    f'unknown token {word[:40]!r} at position {place}; '
                    f'this task has {" ".join(self.vocabulary.tokens[2:])}'
                )
        return np.array([ids[word] for word in words], np.int32)


def row_length(tokens: np.ndarray) -> np.ndarray:
    """Tokens before the first `<eos>` (all, where there is none), int `[count]`."""
    is_eos = tokens == EOS
    return np.where(is_eos.any(axis=1), is_eos.argmax(axis=1), tokens.shape[1])


def produced(examples: Examples) -> np.ndarray:
    """Bool `[count, length]`: the tokens that a model must produce, and that the loss counts."""
    return ~examples.given & (examples.tokens != PAD)


def prompt_hash(examples: Examples) -> np.ndarray:
    """A 64-bit hash of the given tokens of each row, uint64 `[count]`; padding does not change it."""
    given = np.where(examples.given, examples.tokens, 0).astype(np.uint64)
    return _mix(given @ _multipliers(given.shape[1]))


@functools.cache
def _multipliers(length: int) -> np.ndarray:
    return _mix(np.arange(1, length + 1, dtype=np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that avalanches."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
