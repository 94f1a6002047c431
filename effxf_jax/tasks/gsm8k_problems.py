"""Grade-school mathematics as people wrote it: the problems of files in GSM8K's format (Cobbe et al. 2021).

    A train has 6 carriages with 40 seats each, and 15 seats are free. How many are taken?<sep>
    The train has 6*40 = <<6*40=240>>240 seats.
    Of these 240-15 = <<240-15=225>>225 are taken.
    #### 225

The question and `<sep>` are given, the solution is to be written. A written answer is compared with the
file's, as an exact number; a step has no right form except that its annotation must evaluate to its result.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from effxf_jax.tasks.school_math import files, grading
from effxf_jax.tasks.school_math.files import Corpus, Known
from effxf_jax.tasks.school_math.pieces import LINE_END, SEP, SEPARATOR
from effxf_jax.tasks.task import EOS, PAD, Examples, Fault, Grade, Task, Vocabulary, refuse_options

TOKENS = ('words', 'bytes')


class Problems(NamedTuple):
    """Problems of the training file: their places among those that are not too long, int `[count]`."""

    place: np.ndarray


class Solution(NamedTuple):
    """The answers of problems as the file has them, strings `[count]`."""

    answer: np.ndarray


@dataclasses.dataclass(frozen=True)
class GradeSchoolMath(Task):
    """The problems of files in GSM8K's format.

    Only questions of the two files can be graded. `sample` draws from the training file alone.

    Attributes:
        train_file: the file whose words are the vocabulary.
        test_file: a file of other problems; their answers are known, their words are not.
        tokens: 'words': words and signs with the space before them, and single digits; 'bytes': UTF-8.
        min_count: words that the training file has less often are `<unk>`, as are those that it lacks; for
            'words' only.
        max_tokens: examples with more tokens, `<sep>` and `<eos>` included, are left out. By default the
            length of the longest example of the files, at most 2,048.
        answer_mode: 'chain' or, with the line `#### ANSWER` alone behind the question, 'direct'.

    Raises:
        ValueError: naming every option that is out of range and every file that cannot be read.
    """

    title: ClassVar = 'grade-school mathematics'
    size_option: ClassVar = 'max_tokens'
    metric: ClassVar = 'answer_accuracy'
    of_files: ClassVar = True
    stream_options: ClassVar = (
        'train_file',
        'test_file',
        'tokens',
        'min_count',
        'max_tokens',
        'answer_mode',
    )

    train_file: str
    test_file: str | None = None
    tokens: str = 'words'
    min_count: int = 2
    max_tokens: int | None = None
    answer_mode: str = 'chain'

    def __post_init__(self):
        problems = []
        if self.tokens not in TOKENS:
            problems.append(f'tokens must be one of {", ".join(TOKENS)}; got {self.tokens!r}')
        if self.min_count < 1:
            problems.append(f'min_count must be at least 1; got {self.min_count}')
        if self.max_tokens is not None and self.max_tokens < 1:
            problems.append(f'max_tokens must be at least 1; got {self.max_tokens}')
        refuse_options(problems, self.answer_mode)
        _ = self._corpus  # raises now if a file is broken

    @functools.cached_property
    def _corpus(self) -> Corpus:
        given = {'train_file': self.train_file, 'test_file': self.test_file}
        paths = {name: path for name, path in given.items() if path is not None}
        has_steps = self.answer_mode == 'chain'
        return files.load(paths, files.Options(self.tokens, self.min_count, self.max_tokens, has_steps))

    def scaled(self, factor: float) -> 'GradeSchoolMath':
        """Returns the same task for factor 1; the problems of files have the size that they have.

        Raises:
            ValueError: the factor is another one.
        """
        if factor != 1:
            raise ValueError(f'the problems of {self.train_file} exist at one size; got the factor {factor}')
        return self

    @property
    def vocabulary(self) -> Vocabulary:
        return self._corpus.codec.vocabulary

    @property
    def max_length(self) -> int:
        return self._corpus.max_length

    @property
    def step_ends(self) -> tuple[str, ...]:
        return (SEPARATOR, LINE_END)

    @functools.cached_property
    def _line_end(self) -> int:
        return self.vocabulary.ids()[LINE_END]

    def locality(self) -> int | None:
        return None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        """Draws problems of the training file, with repetitions."""
        return Problems(rng.integers(len(self._corpus.rows), size=count))

    def solve(self, problems: Problems) -> Solution:
        """Reads the answers from the file's solutions."""
        texts = [self.decode_text(self._corpus.rows[place]) for place in problems.place]
        return Solution(np.array([text.rpartition('####')[2].strip() for text in texts], dtype=str))

    def encode(self, problems: Problems) -> Examples:
        tokens = np.full((len(problems.place), self.max_length), PAD, np.int32)
        for line, place in zip(tokens, problems.place, strict=True):
            row = self._corpus.rows[place]
            line[: len(row)] = row
        return Examples(tokens, self.given(tokens))

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        """The files' own solutions; for a question that occurs twice, the first one."""
        found = [self._known(row) for row in tokens]
        right = np.full((len(tokens), max(len(one.row) if one else 1 for one in found)), PAD, np.int32)
        for line, one in zip(right, found, strict=True):
            if one:
                line[: len(one.row)] = one.row
        return right

    def given(self, tokens: np.ndarray) -> np.ndarray:
        return np.arange(tokens.shape[1]) <= (tokens == SEP).argmax(axis=1)[:, None]

    def _grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        answer_correct, chain_correct = np.zeros((2, len(tokens)), bool)
        first_wrong = np.zeros(len(tokens), np.int32)
        for number, row in enumerate(tokens):
            known = self._known(row)
            if known is None:
                continue
            answer_correct[number], first_wrong[number] = self._grade_row(row, known)
            chain_correct[number] = first_wrong[number] < 0
        return Grade(answer_correct, chain_correct, first_wrong)

    def _known(self, row: np.ndarray) -> Known | None:
        """What is known about the question that a row begins with; None if no file has it."""
        return self._corpus.known.get(files.key(row[: np.argmax(row == SEP) + 1]))

    def _grade_row(self, row: np.ndarray, known: Known) -> tuple[bool, int]:
        """Whether the answer is right, and the first wrong position or -1."""
        start = int(np.argmax(row == SEP)) + 1
        ends = np.flatnonzero(np.isin(row[start:], (PAD, EOS, SEP)))
        end = start + int(ends[0]) if ends.size else len(row)
        written = row[start:end].tolist()
        codec = self._corpus.codec
        verdict = grading.grade(codec.decode(written), known.reference, self.answer_mode == 'chain')
        ended = end < len(row) and row[end] == EOS
        if verdict.wrong_from is None:
            return verdict.answer_right and ended, -1 if ended else end
        return verdict.answer_right and ended, start + codec.place(written, verdict.wrong_from)

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        tokens = np.asarray(tokens, np.int32)
        if SEP not in tokens:
            return Fault('truncated', len(tokens), 'the text ends within the prompt')
        if self._known(tokens) is None:
            names = ' or '.join(filter(None, (self.train_file, self.test_file)))
            return Fault('malformed prompt', 0, f'the question is not one of {names}')
        return None

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        tokens = np.asarray(tokens)
        lines = tokens[np.argmax(tokens == SEP) + 1 : position] == self._line_end
        return f'line {int(lines.sum()) + 1}'

    def steps(self, tokens: np.ndarray) -> list[slice]:
        """The slices of a row that are the question and each line of the solution."""
        tokens = np.asarray(tokens)
        start = int(np.argmax(tokens == SEP)) + 1 if SEP in tokens else len(tokens)
        ends = np.flatnonzero(np.isin(tokens, (EOS, self._line_end))) + 1
        bounds = [0, start, *ends[ends > start].tolist(), len(tokens)]
        slices = [slice(*pair) for pair in itertools.pairwise(bounds)]
        return [one for one in slices if (tokens[one] != PAD).any()]

    def decode_text(self, tokens: Sequence[int]) -> str:
        """The question, `<sep>` and the solution as they were written, but for unknown words."""
        row = np.asarray(tokens)
        ends = np.flatnonzero(row == EOS)
        return self._text(row[: ends[0]] if ends.size else row)

    def _text(self, row: np.ndarray) -> str:
        """The text of ids of any kind; the codec alone knows those of texts."""
        special = np.flatnonzero(np.isin(row, (PAD, EOS, SEP)))
        parts = []
        for begin, end in zip([0, *(special + 1)], [*special, len(row)], strict=True):
            parts.append(self._corpus.codec.decode(row[begin:end].tolist()))
            if end < len(row) and row[end] != PAD:
                parts.append(self.vocabulary.tokens[row[end]])
        return ''.join(parts)

    def spell(self, tokens: Sequence[int]) -> str:
        """Tokens as text on one line, for reading: without padding and without the line's end."""
        text = self._text(np.asarray(tokens, np.int32)).removesuffix(LINE_END)
        return ''.join(x if x.isprintable() else x.encode('unicode_escape').decode() for x in text)

    def parse_text(self, line: str) -> np.ndarray:
        """Parses a text as `decode_text` makes it; an unknown word becomes `<unk>`."""
        codec = self._corpus.codec
        question, separator, solution = line.partition(SEPARATOR)
        parts = [codec.encode(question)]
        if separator:
            parts += [[SEP], codec.encode(solution)]
        return np.concatenate(parts, dtype=np.int32)

    def diagnose(self, tokens: Sequence[int]) -> str | None:
        tokens = np.asarray(tokens, np.int32)
        if fault := self.prompt_fault(tokens):
            return f'{fault.kind} at position {fault.position}: {fault.detail}'
        position = self._first_wrong(tokens)
        if position < 0:
            return None
        answer = self.decode_text(self.complete(tokens[None])[0]).rpartition(LINE_END)[2]
        if position == len(tokens):
            kind, detail = 'truncated', f'the text ends before the right answer, {answer}'
        else:
            token = repr(self.vocabulary.tokens[tokens[position]])
            kind, due = 'wrong value', f'no right solution goes on; {answer}'
            if self._first_wrong(tokens[:position]) < 0:
                kind, due = 'too long', 'the text should end'
            detail = f'{token} where {due}'
        return f'{kind} at position {position}, {self.step_at(tokens, position)}: {detail}'

    def _first_wrong(self, tokens: np.ndarray) -> int:
        row = np.append(tokens, EOS)[None]
        return int(self.grade(row, np.zeros(row.shape, bool)).first_wrong[0])

    def to_record(self, tokens: np.ndarray) -> dict[str, str]:
        question, _, answer = self.decode_text(tokens).partition(SEPARATOR)
        return {'question': question, 'answer': answer}

    def from_record(self, record: Mapping[str, str]) -> np.ndarray:
        return files.row_of(
            self._corpus.codec, record['question'], record['answer'], self.answer_mode == 'chain'
        )

    @property
    def hardest_length(self) -> int:
        """The length of the longest prompt; no lower bound is known at any length."""
        return self._corpus.longest_prompt

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """No lower bound; for the upper one, which question it is, and all that may be written behind it."""
        written = max(0, length - self._corpus.shortest_prompt)
        upper = math.log2(len(self._corpus.known)) + written * math.log2(self.vocabulary.size)
        return 0.0, upper
