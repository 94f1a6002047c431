"""The contract of a task: one dynamic-programming problem, written out as a chain of thought.

A task samples problems, solves them, writes each with its solution as one row of tokens, and judges rows
that a model wrote. Everything is a numpy array over examples; a task knows no model.
"""

import abc
import dataclasses
import functools
import itertools
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

PAD, EOS = 0, 1

ANSWER_MODES = ('chain', 'direct')
"""A row is prompt, chain of thought and answer; or, in direct mode, prompt and answer alone [feng]."""

SEPARATORS = ('<sep>', ',', '=')
"""Tokens that end a part of a row, in whichever tasks have them."""

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

    def ids(self) -> Mapping[str, int]:
        return _ids(self.tokens)


@functools.cache
def _ids(tokens: tuple[str, ...]) -> Mapping[str, int]:
    return types.MappingProxyType({token: i for i, token in enumerate(tokens)})


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
            on, -1 where chain_correct; 0 where the prompt is malformed, and the number of columns where
            all is right but more is due.
    """

    answer_correct: np.ndarray
    chain_correct: np.ndarray
    first_wrong: np.ndarray


class Bits(NamedTuple):
    """How much of a prefix must be known to go on right.

    Two prefixes of a length are of one class when the same continuations are legal after both. Legal is what
    `prompt_fault` and `grade` accept, so these are the bits of a model that is right on all problems that can
    be posed; the ones that are drawn may need fewer.

    Attributes:
        length: tokens of the prefix.
        lower: log2 of the size of a set of prefixes no two of which a model may confuse: the same tokens can
            be told behind both, after which nothing that is right for the one is right for the other. (Where
            several chains are right, prefixes of different classes may be confused without harm.)
        upper: a bound on log2 of the number of classes: who knows the class can go on right.
    """

    length: int
    lower: float
    upper: float


class Fault(NamedTuple):
    """What is wrong with a text.

    Attributes:
        kind: 'malformed prompt', 'malformed expression', 'wrong value', 'missing separator', 'truncated'
            or 'too long'.
        position: of the first token with which no right text goes on, from 0; the number of tokens
            where more are due.
        detail: what stands there, and what should.
    """

    kind: str
    position: int
    detail: str


class Task(abc.ABC):
    """One DP problem at one size. Implementations are frozen dataclasses of their options.

    Every one has the option `answer_mode`, one of ANSWER_MODES, which `encode`, `grade` and `max_length`
    honour.

    Attributes:
        aliases: other names that are accepted for it.
        title: its name in words; None where that is the name in `tasks.TASKS`.
        dp_class: its class in the paper's theorems, a key of `theory.theorems.WIDTH_EXPONENTS`; None where no
            theorem speaks of it.
        size_option: the option that grows with the problem; `scaled` multiplies it.
        metric: the accuracy that counts, a field of `evaluation.Evaluation`; the paper's, if it has the task.
        published_sizes: options of the sizes that are prepared as TensorFlow datasets under their names.
        stream_options: the options that name the stream of examples whatever their values. Options added
            later are not among them: they name a stream of their own only where they differ from their
            default, so that a new option leaves the examples of others as they are.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str | None] = None
    dp_class: ClassVar[str | None] = None
    size_option: ClassVar[str] = 'n'
    metric: ClassVar[str] = 'chain_accuracy'
    published_sizes: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    stream_options: ClassVar[tuple[str, ...]] = ()

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
        """Judges rows int `[count, length]`, whatever tokens stand in them, and of any length.

        In direct mode a chain is correct when its answer is.
        """

    @abc.abstractmethod
    def locality(self) -> int | None:
        """How many of the last tokens fix the next one, at any length; None where no constant does."""

    @property
    @abc.abstractmethod
    def hardest_length(self) -> int:
        """The length of prefix at which the lower bound of `required_bits` is largest."""

    def required_bits(self, length: int | None = None) -> Bits:
        """What must be known of a prefix of `length` tokens; by default of the hardest one.

        In direct mode nothing is claimed from below.

        Raises:
            ValueError: no legal prefix has this length.
        """
        length = self.hardest_length if length is None else length
        if not 1 <= length < self.max_length:
            raise ValueError(f'a prefix of {self} has 1 to {self.max_length - 1} tokens; got {length}')
        lower, upper = self._prefix_bits(length)
        return Bits(length, lower if self.answer_mode == 'chain' else 0.0, upper)

    @abc.abstractmethod
    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The bounds of `required_bits` in chain mode; the upper one holds in direct mode too."""

    @abc.abstractmethod
    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        """What keeps the prompt of a text, int `[length]`, from being one of this task and of its size.

        None says that `grade` finds no fault in the prompt either.
        """

    @abc.abstractmethod
    def step_at(self, tokens: np.ndarray, position: int) -> str:
        """The step of a text, such as 'row 3', that a position behind a faultless prompt belongs to."""

    def scaled(self, factor: float) -> 'Task':
        """The task at a size larger by a factor, rounded down, and otherwise the same.

        Raises:
            ValueError: there is no task of this size.
        """
        return dataclasses.replace(self, **{self.size_option: int(getattr(self, self.size_option) * factor)})

    @property
    def stream_key(self) -> str:
        """What the examples depend on beside seed, split and index: the kind of task and its options."""
        options = ', '.join(
            f'{field.name}={getattr(self, field.name)!r}'
            for field in dataclasses.fields(self)
            if field.name in self.stream_options or getattr(self, field.name) != field.default
        )
        return f'{type(self).__name__}({options})'

    def given(self, tokens: np.ndarray) -> np.ndarray:
        """Which tokens of right rows a model is told, bool like tokens `[count, length]`: the first step."""
        ends = np.isin(tokens, [self.vocabulary.ids()[token] for token in self.step_ends])
        return np.arange(tokens.shape[1]) <= ends.argmax(axis=1)[:, None]

    @property
    def problem_size(self) -> int:
        """The longest sequence without its `<eos>`, the paper's measure of size (Figure 1)."""
        return self.max_length - 1

    def decode_text(self, tokens: Sequence[int]) -> str:
        """A row as text: its tokens up to `<eos>`, joined by spaces."""
        row = np.asarray(tokens)
        return self.spell(row[: row_length(row[None])[0]])

    def spell(self, tokens: Sequence[int]) -> str:
        """Tokens joined by spaces, without padding."""
        return ' '.join(self.vocabulary.tokens[t] for t in tokens if t != PAD)

    def steps(self, tokens: np.ndarray) -> list[slice]:
        """Where the steps of a row, int `[length]`, stand: the prompt, the others, and what is unfinished."""
        ends = [EOS, *(self.vocabulary.ids()[token] for token in self.step_ends)]
        bounds = [0, *(np.flatnonzero(np.isin(tokens, ends)) + 1), len(tokens)]
        return [slice(*pair) for pair in itertools.pairwise(bounds) if (tokens[slice(*pair)] != PAD).any()]

    def parse_text(self, line: str) -> np.ndarray:
        """The ids of a line of text, int32 `[length]`, without `<eos>`.

        Raises:
            ValueError: a word is not a token of this task; the message names it and its place.
        """
        ids = self.vocabulary.ids()
        words = line.split()
        for place, word in enumerate(words):
            if word not in ids or ids[word] in (PAD, EOS):
                known = self.vocabulary.tokens[2:]
                if len(known) > 60:
                    known = (*known[:50], '...', known[-1])
                raise ValueError(
                    f'unknown token {word[:40]!r} at position {place}; this task has {" ".join(known)}'
                )
        return np.array([ids[word] for word in words], np.int32)

    def diagnose(self, tokens: Sequence[int]) -> str | None:
        """What is wrong with one row read from text, as by `parse_text`.

        Args:
            tokens: int `[length]`, without `<eos>`; any length.

        Returns:
            None, if the row is a right one of this task. Otherwise one line, `kind at position p: detail`
            or, behind the prompt, `kind at position p, step: detail`; `Fault` says what these are.
        """
        tokens = np.asarray(tokens, np.int32)
        fault = self.prompt_fault(tokens)
        if fault is not None:
            return f'{fault.kind} at position {fault.position}: {fault.detail}'
        row = np.append(tokens, EOS)[None]
        position = int(self.grade(row, np.zeros(row.shape, bool)).first_wrong[0])
        if position < 0:
            return None
        # The tokens that are right here are those with which a right row goes on.
        trials = np.repeat(row[:, : position + 1], self.vocabulary.size, axis=0)
        trials[:, position] = np.arange(self.vocabulary.size)
        first_wrong = self.grade(trials, np.zeros(trials.shape, bool)).first_wrong
        right = np.flatnonzero((first_wrong > position) | (first_wrong < 0))
        kind, detail = _mismatch(self.vocabulary, row[0, position], right)
        return f'{kind} at position {position}, {self.step_at(tokens, position)}: {detail}'


def refuse_options(problems: list[str], answer_mode: str) -> None:
    """Raises ValueError naming a task's problems, and its answer_mode if that is none of ANSWER_MODES."""
    if answer_mode not in ANSWER_MODES:
        problems = [*problems, f'answer_mode must be one of {", ".join(ANSWER_MODES)}; got {answer_mode!r}']
    if problems:
        raise ValueError('\n'.join(problems))


def row_length(tokens: np.ndarray) -> np.ndarray:
    """Tokens before the first `<eos>` (all, where there is none), int `[count]`."""
    return np.pad(tokens == EOS, ((0, 0), (0, 1)), constant_values=True).argmax(axis=1)


def row_end(tokens: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The position of the `<eos>` that ends a row, the first with nothing given after it, int `[count]`."""
    columns = np.arange(tokens.shape[1])
    last_given = np.where(given, columns, -1).max(axis=1, initial=-1)
    return row_length(np.where(columns > last_given[:, None], tokens, PAD))


def grade_against(right: np.ndarray, tokens: np.ndarray, given: np.ndarray, answer_size: int = 1) -> Grade:
    """Judges rows each of which has just one right form.

    Args:
        right: int `[count, any length]`, the right rows with their `<eos>`; all `<pad>` where the prompt
            is malformed.
        tokens: int `[count, length]`, the rows to judge.
        given: bool `[count, length]`.
        answer_size: tokens in an answer. The answer counts only behind the separator that stands there in
            the right row.
    """
    well_formed = right[:, 0] != PAD
    length = tokens.shape[1]
    width = max(length, right.shape[1])
    right = np.pad(right, ((0, 0), (0, width - right.shape[1])))
    written = np.pad(tokens, ((0, 0), (0, width - length)))
    wrong = (written != right) & (right != PAD)
    wrong[:, 0] |= ~well_formed
    first_wrong = np.where(wrong.any(axis=1), wrong.argmax(axis=1), -1).astype(np.int32)

    tail = -np.arange(answer_size + 2)  # `<eos>`, the answer, the separator before it
    end, right_end = row_end(tokens, given)[:, None] + tail, row_length(right)[:, None] + tail
    reaches = (end[:, 0] < length) & (end[:, -1] >= 0) & well_formed
    columns = np.clip(end, 0, width - 1), np.clip(right_end, 0, width - 1)
    tails = np.take_along_axis(written, columns[0], axis=1), np.take_along_axis(right, columns[1], axis=1)
    return Grade(reaches & (tails[0] == tails[1]).all(axis=1), first_wrong < 0, first_wrong)


def _mismatch(vocabulary: Vocabulary, found: int, right: np.ndarray) -> tuple[str, str]:
    """The kind of a fault, and what stands there and what should: ids of one token and of some."""
    names = [vocabulary.tokens[i] for i in right if i != EOS]
    due = ' or '.join(names[:4]) + (f' or one of {len(names) - 4} others' if len(names) > 4 else '')
    if not names:
        return 'too long', f'{vocabulary.tokens[found]} where the text should end'
    if found == EOS:
        return 'truncated', f'the text ends where {due} is due'
    found = vocabulary.tokens[found]
    if all(name in SEPARATORS for name in names):
        kind = 'missing separator'
    elif found.isalnum() and any(name.isalnum() and name.isdigit() == found.isdigit() for name in names):
        kind = 'wrong value'
    else:
        kind = 'malformed expression'
    return kind, f'{found} where {due} is due'


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
