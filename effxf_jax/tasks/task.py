"""The contract of a task: one dynamic-programming problem, written as a chain of thought.

A task samples problems, solves them, encodes each with its solution as one row of tokens, and grades rows
that a model generated. All data are numpy arrays over examples; a task does not depend on models.
"""

import abc
import dataclasses
import functools
import itertools
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from effxf_jax.dependencies import Chain, Operand, Place, Step

PAD, EOS = 0, 1

ANSWER_MODES = ('chain', 'direct')
"""In chain mode a row is prompt, chain of thought and answer; in direct mode prompt and answer [feng]."""

SEPARATORS = ('<sep>', ',', '=')
"""Tokens that end a part of a row, over all tasks."""

Problems = Any
"""A task's own NamedTuple of arrays `[count, ...]`."""


class Vocabulary(NamedTuple):
    """The tokens of a task, by id; ids 0 and 1 are always `<pad>` and `<eos>`."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, tokens: Iterable[str]) -> 'Vocabulary':
        return cls(('<pad>', '<eos>', *tokens))

    @property
    def size(self) -> int:
        return len(self.tokens)

    def ids(self) -> Mapping[str, int]:
        return _ids(self.tokens)


@functools.lru_cache(maxsize=32)
def _ids(tokens: tuple[str, ...]) -> Mapping[str, int]:
    return types.MappingProxyType({token: i for i, token in enumerate(tokens)})


class Examples(NamedTuple):
    """Rows of tokens, one example each.

    Attributes:
        tokens: int32 `[count, max_length]`, `<pad>` after the row's `<eos>`.
        given: bool `[count, max_length]`, whether a token is given to the model, which must produce the
            others up to and including `<eos>`.
    """

    tokens: np.ndarray
    given: np.ndarray


class Grade(NamedTuple):
    """The grades of rows that a model generated.

    Attributes:
        answer_correct: bool `[count]`, whether the row ends in the right answer and `<eos>`.
        chain_correct: bool `[count]`, whether in addition every step is legal.
        first_wrong: int32 `[count]`, the position of the first wrong token, with which no right row
            continues; -1 where chain_correct; 0 where the prompt is malformed; the number of columns where
            every token is right but the row is incomplete.
    """

    answer_correct: np.ndarray
    chain_correct: np.ndarray
    first_wrong: np.ndarray


class Bits(NamedTuple):
    """Bounds on how many bits about a prefix a model must know to continue it correctly.

    Two prefixes of one length are in the same class if the same continuations are legal after both. Legal
    means accepted by `prompt_fault` and `grade`, so the bounds are for a model that solves every valid
    problem; the problems that `sample` draws may need fewer bits.

    Attributes:
        length: tokens in the prefix.
        lower: log2 of the size of a set of prefixes no two of which a model may confuse: some tokens can be
            given after both such that no continuation is right for both. (Where several chains are right,
            prefixes of different classes may be confused without harm.)
        upper: upper bound on log2 of the number of classes; the class suffices to continue correctly.
    """

    length: int
    lower: float
    upper: float


class Fault(NamedTuple):
    """What is wrong with a text.

    Attributes:
        kind: 'malformed prompt', 'malformed expression', 'wrong value', 'missing separator', 'truncated'
            or 'too long'.
        position: the position, from 0, of the first token with which no right text continues, or of the
            sentence at fault; the number of tokens where more are expected.
        detail: the token at this position, and the tokens expected.
    """

    kind: str
    position: int
    detail: str


class Task(abc.ABC):
    """One DP problem at one size. Implementations are frozen dataclasses of their options.

    Every task has the option `answer_mode`, one of ANSWER_MODES, which `encode`, `grade` and `max_length`
    respect.

    Attributes:
        aliases: other accepted names of the task.
        title: the task's name in words; None where `tasks.TASKS` has that name.
        dp_class: the task's class in the paper's theorems, a key of `theory.theorems.WIDTH_EXPONENTS`; None
            where no theorem speaks of the task.
        size_option: the option that grows with the problem; `scaled` multiplies it.
        metric: the accuracy that reports use, a field of `evaluation.Evaluation`; the paper's metric if the
            paper has the task.
        published_sizes: the options of each size that is available as a named TensorFlow dataset.
        of_files: whether the task's problems are those of files, from which `sample` draws; there are no
            others to test on.
        stream_options: the options that are always part of `stream_key`. Options added later are not listed
            here: they are part of the key only where they differ from their default, so that a new option
            leaves existing examples unchanged.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str | None] = None
    dp_class: ClassVar[str | None] = None
    size_option: ClassVar[str] = 'n'
    metric: ClassVar[str] = 'chain_accuracy'
    published_sizes: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    of_files: ClassVar[bool] = False
    stream_options: ClassVar[tuple[str, ...]] = ()

    @property
    @abc.abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The tokens of the task."""

    @property
    @abc.abstractmethod
    def max_length(self) -> int:
        """Columns of a row: the length of the longest sequence, `<eos>` included."""

    @property
    @abc.abstractmethod
    def step_ends(self) -> tuple[str, ...]:
        """The tokens that end the prompt or a step of the chain."""

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        """Draws `count` independent problems; the draw depends only on the state of `rng`."""

    @abc.abstractmethod
    def solve(self, problems: Problems) -> Any:
        """Runs the dynamic programme; returns trace and answers, a NamedTuple of arrays `[count, ...]`."""

    @abc.abstractmethod
    def encode(self, problems: Problems) -> Examples:
        """Encodes each problem, its chain of thought and its answer as one row."""

    def grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        """Grades rows int `[count, length]` of any integers and any length, also no rows.

        In direct mode a chain is correct if its answer is correct. An integer that is no token's id is wrong
        at its position.
        """
        tokens, given = np.asarray(tokens), np.asarray(given)
        if not tokens.size:
            none = np.zeros(len(tokens), bool)
            return Grade(none, none, np.zeros(len(tokens), np.int32))
        unknown = (tokens < 0) | (tokens >= self.vocabulary.size)
        if unknown.any():
            behind = np.logical_or.accumulate(unknown, axis=1) & ~given.astype(bool)
            tokens = np.where(unknown | behind, PAD, tokens)
        return self._grade(tokens.astype(np.int32, copy=False), given)

    def _grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        """Grades rows int32 `[count >= 1, length >= 1]` of token ids, as `grade` does.

        By default the row that `complete` returns is the only right one, and its last token the answer.
        """
        return grade_against(self.complete(tokens), tokens, given)

    @abc.abstractmethod
    def complete(self, tokens: np.ndarray) -> np.ndarray:
        """The right row for the given tokens of each row, int32 `[count, any length]`; for several, one.

        Args:
            tokens: the ids of tokens, int32 `[count >= 1, length >= 1]`; only given ones matter.

        Returns:
            Rows with their `<eos>`; a row is all `<pad>` where the prompt is malformed.
        """

    @abc.abstractmethod
    def locality(self) -> int | None:
        """How many of the last tokens determine the next one, at any length; None if no constant does."""

    @property
    @abc.abstractmethod
    def hardest_length(self) -> int:
        """The prefix length at which the lower bound of `required_bits` is largest."""

    def required_bits(self, length: int | None = None) -> Bits:
        """The bits that a model must know about a prefix of `length` tokens, by default `hardest_length`.

        In direct mode the lower bound is 0, which claims nothing.

        Raises:
            ValueError: no legal prefix has this length.
        """
        length = self.hardest_length if length is None else length
        if not 1 <= length < self.max_length:
            raise ValueError(f'a prefix of {self} must have 1 to {self.max_length - 1} tokens; got {length}')
        lower, upper = self._prefix_bits(length)
        return Bits(length, lower if self.answer_mode == 'chain' else 0.0, upper)

    @abc.abstractmethod
    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The bounds of `required_bits` in chain mode; the upper bound also holds in direct mode."""

    @abc.abstractmethod
    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        """The fault in the prompt of a text, int `[length]`.

        None if the prompt states a problem of this task at this size, which `grade` then also accepts.
        """

    @abc.abstractmethod
    def step_at(self, tokens: np.ndarray, position: int) -> str:
        """The name of the step, such as 'row 3', that a position after a valid prompt belongs to."""

    def dependencies(self, tokens: np.ndarray) -> Chain:
        """Where the values of a right row come from: the operands of the dynamic programme's recurrence.

        A value that is told, between steps too, counts as one of the prompt.

        Args:
            tokens: int `[length]`, a row without errors and with its `<eos>`.

        Raises:
            NotImplementedError: the task does not say where its values come from.
            ValueError: the row is not right, or the task is in direct mode.
        """
        row = np.asarray(tokens, np.int32)
        row = row[: row_length(row[None])[0] + 1]
        if self.answer_mode != 'chain':
            raise ValueError('dependencies are those of a chain; the task has the answer mode direct')
        if not self.grade(row[None], np.zeros((1, len(row)), bool)).chain_correct[0]:
            raise ValueError(f'dependencies are those of a right row; got {self.spell(row)[:200]}')
        results: dict[int, Place] = {}
        steps = []
        for number, (position, used) in enumerate(self._sources(row), start=1):
            origins = [(at, results.get(source, Place(0, source))) for at, source in used]
            results[position] = Place(number, position)
            steps.append(Step(tuple(Operand(at, (place,)) for at, place in origins), results[position]))
        return Chain(tuple(steps), len(row))

    def _sources(self, row: np.ndarray) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yields for each value of a right row, int `[length]`, its position and what it is computed from.

        This is a list of pairs: where an operand is used, and the position of the value that it is.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say where its values come from')

    def to_record(self, tokens: np.ndarray) -> dict[str, str]:
        """A right row, int `[length]`, as a record of GSM8K's format, with the keys `question` and `answer`.

        Raises:
            NotImplementedError: the task has no such form.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form in GSM8K's format")

    def from_record(self, record: Mapping[str, str]) -> np.ndarray:
        """The row of a record, int32 `[length]` without `<eos>`; `diagnose` says what is wrong with it.

        Raises:
            NotImplementedError: the task has no such form.
            ValueError: the record has other text than tokens of the task.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form in GSM8K's format")

    def scaled(self, factor: float) -> 'Task':
        """The same task with its size multiplied by a factor and rounded down.

        Raises:
            ValueError: the task does not exist at this size.
        """
        return dataclasses.replace(self, **{self.size_option: int(getattr(self, self.size_option) * factor)})

    @property
    def stream_key(self) -> str:
        """What the examples depend on besides seed, split and index: the task's class and options."""
        options = ', '.join(
            f'{field.name}={getattr(self, field.name)!r}'
            for field in dataclasses.fields(self)
            if field.name in self.stream_options or getattr(self, field.name) != field.default
        )
        return f'{type(self).__name__}({options})'

    def given(self, tokens: np.ndarray) -> np.ndarray:
        """Which tokens of right rows, `[count, length]`, are given to a model: bool, here the prompt."""
        ends = np.isin(tokens, [self.vocabulary.ids()[token] for token in self.step_ends])
        return np.arange(tokens.shape[1]) <= ends.argmax(axis=1)[:, None]

    @property
    def problem_size(self) -> int:
        """The length of the longest sequence without its `<eos>`, the paper's measure of size (Figure 1)."""
        return self.max_length - 1

    def decode_text(self, tokens: Sequence[int]) -> str:
        """A row as text: its tokens up to `<eos>`, joined by spaces."""
        row = np.asarray(tokens)
        return self.spell(row[: row_length(row[None])[0]])

    def spell(self, tokens: Sequence[int]) -> str:
        """Tokens joined by spaces, without padding."""
        return ' '.join(self.vocabulary.tokens[t] for t in tokens if t != PAD)

    def steps(self, tokens: np.ndarray) -> list[slice]:
        """The slices of a row, int `[length]`, that are the prompt, each step and an unfinished rest."""
        ends = [EOS, *(self.vocabulary.ids()[token] for token in self.step_ends)]
        bounds = [0, *(np.flatnonzero(np.isin(tokens, ends)) + 1), len(tokens)]
        return [slice(*pair) for pair in itertools.pairwise(bounds) if (tokens[slice(*pair)] != PAD).any()]

    def parse_text(self, line: str) -> np.ndarray:
        """Parses a line of text into token ids, int32 `[length]`, without `<eos>`.

        Raises:
            ValueError: a word is not a token of this task; the message gives the word and its position.
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
        """Describes what is wrong with one row of text.

        Args:
            tokens: int `[length]`, without `<eos>`, as from `parse_text`; any length.

        Returns:
            None if the row is right. Otherwise one line: `kind at position p: detail` within the prompt,
            `kind at position p, step: detail` after it; see `Fault`.
        """
        tokens = np.asarray(tokens, np.int32)
        fault = self.prompt_fault(tokens)
        if fault is not None:
            return f'{fault.kind} at position {fault.position}: {fault.detail}'
        row = np.append(tokens, EOS)[None]
        position = int(self.grade(row, np.zeros(row.shape, bool)).first_wrong[0])
        if position < 0:
            return None
        # A token is right at this position if some right row continues with it.
        trials = np.repeat(row[:, : position + 1], self.vocabulary.size, axis=0)
        trials[:, position] = np.arange(self.vocabulary.size)
        first_wrong = self.grade(trials, np.zeros(trials.shape, bool)).first_wrong
        right = np.flatnonzero((first_wrong > position) | (first_wrong < 0))
        kind, detail = _mismatch(self.vocabulary, row[0, position], right)
        return f'{kind} at position {position}, {self.step_at(tokens, position)}: {detail}'


def refuse_options(problems: list[str], answer_mode: str) -> None:
    """Raises ValueError if there are problems or if answer_mode is not in ANSWER_MODES; names them all."""
    if answer_mode not in ANSWER_MODES:
        problems = [*problems, f'answer_mode must be one of {", ".join(ANSWER_MODES)}; got {answer_mode!r}']
    if problems:
        raise ValueError('\n'.join(problems))


def row_length(tokens: np.ndarray) -> np.ndarray:
    """The number of tokens before the first `<eos>`, or of all tokens if there is none, int `[count]`."""
    return np.pad(tokens == EOS, ((0, 0), (0, 1)), constant_values=True).argmax(axis=1)


def row_end(tokens: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The position of the `<eos>` that ends a row, the first with no given token after it, int `[count]`."""
    columns = np.arange(tokens.shape[1])
    last_given = np.where(given, columns, -1).max(axis=1, initial=-1)
    return row_length(np.where(columns > last_given[:, None], tokens, PAD))


def grade_against(right: np.ndarray, tokens: np.ndarray, given: np.ndarray, answer_size: int = 1) -> Grade:
    """Grades rows against the one right row of each problem.

    Args:
        right: int `[count, any length]`, the right rows with their `<eos>`; all `<pad>` where the prompt
            is malformed.
        tokens: int `[count, length]`, the rows to grade.
        given: bool `[count, length]`.
        answer_size: tokens in an answer. The answer counts only after the same separator as in the right
            row.
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
    """The kind and detail of a fault, given the id of the token found and the ids that would be right."""
    names = [vocabulary.tokens[i] for i in right if i != EOS]
    due = ' or '.join(names[:4]) + (f' or one of {len(names) - 4} others' if len(names) > 4 else '')
    if not names:
        return 'too long', f'{vocabulary.tokens[found]} where the text should end'
    if found == EOS:
        return 'truncated', f'the text ends where {due} is expected'
    found = vocabulary.tokens[found]
    if all(name in SEPARATORS for name in names):
        kind = 'missing separator'
    elif found.isalnum() and any(name.isalnum() and name.isdigit() == found.isdigit() for name in names):
        kind = 'wrong value'
    else:
        kind = 'malformed expression'
    return kind, f'{found} where {due} is expected'


def produced(examples: Examples) -> np.ndarray:
    """Which tokens a model must produce and the loss counts, bool `[count, length]`."""
    return ~examples.given & (examples.tokens != PAD)


def prompt_hash(examples: Examples) -> np.ndarray:
    """A 64-bit hash of each row's given tokens, uint64 `[count]`; padding does not change it."""
    given = np.where(examples.given, examples.tokens, 0).astype(np.uint64)
    return _mix(given @ _multipliers(given.shape[1]))


@functools.cache
def _multipliers(length: int) -> np.ndarray:
    return _mix(np.arange(1, length + 1, dtype=np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection with avalanche."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
