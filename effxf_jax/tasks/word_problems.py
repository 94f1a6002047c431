"""Word problems whose quantities depend on each other, solved step by step as in GSM8K [ours].

    Dan gets what Ann had plus Cat had . Ann has 5 books . Cat gets 3 more books than Eve had .
    Fay wants 9 books . Eve has 4 books . How many books does Dan have ?
    Cat : Eve 's 4 plus the number 3 = << 4 + 3 = 7 >> 7 , Cat has 7 books .
    Dan : Ann 's 5 plus Cat 's 7 = << 5 + 7 = 12 >> 12 , Dan has 12 books . #### 12

The quantities form an acyclic graph: some are stated, each of the others is derived from one or two. `had`
marks the last reference to a quantity, `has` one that others follow, so a reader knows which quantities are
alive. A step names the operands of one derived quantity, looks them up, and computes it in a calculator
annotation of GSM8K; every order is right in which operands come before what is derived from them. Wishes do
not matter.

Sentences told before the chain, in shuffled order, are a problem of GSM8K's form; a model must remember all
that is not yet used. Sentences told between the steps, each just before its step, are a story; a model must
remember the quantities alive, however many steps there are.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

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
from effxf_jax.tasks.words import faults as word_faults
from effxf_jax.tasks.words import records
from effxf_jax.tasks.words.faults import mark
from effxf_jax.tasks.words.grammar import (
    BASE,
    ITEMS,
    KINDS,
    NAMES,
    NUMBER_PLACES,
    OPERATOR_WORDS,
    OPERATORS,
    PLUS,
    QUESTION_LENGTH,
    RELATION_LENGTH,
    STATEMENT_LENGTH,
    STEP_LENGTH,
    STEP_PLACES,
    WISH,
    Grammar,
    Sentences,
    grammar,
    sentences_of,
)
from effxf_jax.tasks.words.sampling import draw
from effxf_jax.tasks.words.solving import Solution, solve

TOLD = ('before', 'between')
LARGEST = 10_000  # each number is a token


@dataclasses.dataclass(frozen=True)
class WordProblems(Task):
    """Word problems with dials.

    Attributes:
        num_steps: derived quantities.
        alive: stated quantities, and how many are alive at once: each derived one takes the place of one that
            is not needed again, until the last steps merge what is left.
        lookback: how many steps back a step refers to at most, if told 'between'; a quantity told before the
            first step counts as its step 0. None: any.
        distractors: sentences about wishes.
        largest: the largest number; the smallest is 0.
        told: 'before': all sentences in shuffled order, then the chain; 'between': each sentence of a derived
            quantity comes just before its step, and a name may be used again for a new quantity once its
            old one is not needed.
        names: how many names there are; by default as many as quantities, and at least 16.
        answer_mode: 'chain' or 'direct'.

    Raises:
        ValueError: naming every option that is out of range.
    """

    title: ClassVar = 'word problems'
    size_option: ClassVar = 'num_steps'
    published_sizes: ClassVar = ({'num_steps': 4}, {'num_steps': 8}, {'num_steps': 16})  # [ours]
    stream_options: ClassVar = (
        'num_steps',
        'alive',
        'lookback',
        'distractors',
        'largest',
        'told',
        'names',
        'answer_mode',
    )

    num_steps: int
    alive: int = 2
    lookback: int | None = None
    distractors: int = 0
    largest: int = 20
    told: str = 'before'
    names: int | None = None
    answer_mode: str = 'chain'

    def __post_init__(self):
        needed = self._most_named
        if self.names is None:
            object.__setattr__(self, 'names', self._default_names)
        problems = []
        if self.alive < 1:
            problems.append(f'alive must be at least 1; got {self.alive}')
        elif self.num_steps < max(self.alive - 1, 1):
            least = max(self.alive - 1, 1)
            problems.append(
                f'num_steps must be at least {least}, to merge {self.alive} quantities; got {self.num_steps}'
            )
        if self.lookback is not None and self.told == 'before':
            problems.append(
                f"lookback requires told 'between': before, any order is right; got {self.lookback}"
            )
        elif self.lookback is not None and self.lookback < self.alive:
            problems.append(f'lookback must be at least alive = {self.alive}, or None; got {self.lookback}')
        if self.distractors < 0:
            problems.append(f'distractors must be at least 0; got {self.distractors}')
        if not 1 <= self.largest <= LARGEST:
            problems.append(f'largest must be from 1 to {LARGEST:,}; got {self.largest}')
        if self.told not in TOLD:
            problems.append(f'told must be one of {", ".join(TOLD)}; got {self.told!r}')
        elif needed > len(NAMES):
            problems.append(
                f'alive{" + num_steps" * (self.told == "before")} must be at most '
                f'{len(NAMES) - (self.told == "between")}, as there are {len(NAMES)} names; got {needed}'
            )
        elif not needed <= self.names <= len(NAMES):
            problems.append(
                f'names must be from {needed}, so many have a quantity at once, to {len(NAMES)}; '
                f'got {self.names}'
            )
        refuse_options(problems, self.answer_mode)

    @property
    def _most_named(self) -> int:
        """How many quantities have a name at once, at most."""
        return self.alive + (self.num_steps if self.told == 'before' else 1)

    @property
    def _default_names(self) -> int:
        return max(16, self._most_named)

    def scaled(self, factor: float) -> 'WordProblems':
        """Scales the number of steps, and takes as many names as that needs unless another number was set."""
        names = None if self.names == self._default_names else self.names
        return dataclasses.replace(self, num_steps=int(self.num_steps * factor), names=names)

    @property
    def _words(self) -> Grammar:
        return grammar(self.names, self.largest)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._words.vocabulary

    @property
    def sentences(self) -> int:
        """Told sentences without the question."""
        return self.alive + self.num_steps + self.distractors

    @property
    def _told_length(self) -> int:
        statements = (self.alive + self.distractors) * STATEMENT_LENGTH
        return statements + self.num_steps * RELATION_LENGTH + QUESTION_LENGTH

    @property
    def max_length(self) -> int:
        chain = self.num_steps * STEP_LENGTH + 1 if self.answer_mode == 'chain' else 0
        return self._told_length + chain + 2

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ('.', '?')

    @property
    def _step_length(self) -> int:
        """Tokens of a step that follows its sentence."""
        return STEP_LENGTH if self.told == 'between' and self.answer_mode == 'chain' else 0

    def locality(self) -> int | None:
        """The tokens of `lookback` steps, the step itself and all statements, if told between the steps."""
        if self.told == 'before' or self.lookback is None or self.answer_mode == 'direct':
            return None
        statements = (self.alive + self.distractors) * STATEMENT_LENGTH
        return (self.lookback + 1) * (RELATION_LENGTH + STEP_LENGTH) + statements

    def sample(self, rng: np.random.Generator, count: int) -> Sentences:
        return draw(
            rng,
            count,
            steps=self.num_steps,
            alive=self.alive,
            lookback=self.lookback,
            wishes=self.distractors,
            largest=self.largest,
            names=self.names,
            is_story=self.told == 'between',
        )

    def solve(self, problems: Sentences, written: np.ndarray | None = None) -> Solution:
        """The chain that goes on with the newest quantity, or as written, if possible; see `solving`."""
        return solve(
            problems,
            steps=self.num_steps,
            largest=self.largest,
            names=self.names,
            is_story=self.told == 'between',
            written=written,
        )

    def encode(self, problems: Sentences) -> Examples:
        return self._encode(problems, self.solve(problems))

    def _encode(self, told: Sentences, solution: Solution) -> Examples:
        words, count = self._words, len(told.item)
        sentences = words.write(told)
        question = words.write_question(told)
        number = lambda values: words.numbers + values
        column = lambda tokens: np.broadcast_to(tokens, (count,))[:, None]
        end = [column(number(solution.answer)), column(EOS)]
        if self.answer_mode == 'direct':
            parts = [sentences.reshape(count, -1), question, *end]
            return self._packed(parts, [True, True, False, False])
        end = [column(words.id('####')), *end]
        at_step = lambda field: np.take_along_axis(field, solution.order, axis=1)
        spelled = lambda spellings: np.array([words.id(word) for word in spellings])[solution.operator]
        is_binary = at_step(told.kind) >= PLUS
        steps = words.write_step(
            subject=words.names + at_step(told.subject),
            first=words.names + at_step(told.first),
            second=np.where(is_binary, words.names + at_step(told.second), words.id('the')),
            possessive=np.where(is_binary, words.id("'s"), words.id('number')),
            left=number(solution.left),
            right=number(solution.right),
            word=spelled(OPERATOR_WORDS),
            operator=spelled(OPERATORS),
            value=number(solution.value),
            item=words.items + told.item[:, None],
        )
        if self.told == 'before':
            parts = [sentences.reshape(count, -1), question, steps.reshape(count, -1), *end]
            return self._packed(parts, [True, True, False, False, False, False])
        story = np.full((count, self.sentences, RELATION_LENGTH + STEP_LENGTH), PAD, np.int32)
        story[:, :, :RELATION_LENGTH] = sentences
        story[np.arange(count)[:, None], solution.order, RELATION_LENGTH:] = steps
        is_told = np.zeros(story.shape, bool)
        is_told[:, :, :RELATION_LENGTH] = True
        parts = [story.reshape(count, -1), question, *end]
        return self._packed(parts, [is_told.reshape(count, -1), True, False, False, False])

    def _packed(self, parts: list[np.ndarray], given: list) -> Examples:
        """Joins parts `[count, any]` without the padding in them, of which every row has the same amount."""
        tokens = np.concatenate(parts, axis=1, dtype=np.int32)
        given = np.concatenate(
            [np.broadcast_to(is_given, part.shape) for is_given, part in zip(given, parts, strict=True)],
            axis=1,
        )
        is_token = tokens != PAD
        shape = (len(tokens), self.max_length)
        return Examples(tokens[is_token].reshape(shape), given[is_token].reshape(shape))

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        told, faults, _ = self._read(tokens)
        return self._right(told, faults, self.solve(told))

    def _right(self, told: Sentences, faults: np.ndarray, solution: Solution) -> np.ndarray:
        well_formed = (faults == 0).all(axis=1) & solution.possible
        # What is no problem of this size would have rows of another length; one that is stands in its place.
        filler = self.sample(np.random.default_rng(0), 1)
        told = _replaced(~well_formed, told, filler)
        solution = _replaced(~well_formed, solution, self.solve(filler))
        return np.where(well_formed[:, None], self._encode(told, solution).tokens, PAD)

    def _grade(self, tokens: np.ndarray, given: np.ndarray) -> Grade:
        told, faults, _ = self._read(tokens)
        solution = self.solve(told, self._written(tokens))
        return grade_against(self._right(told, faults, solution), tokens, given)

    def _written(self, tokens: np.ndarray) -> np.ndarray | None:
        """Whose quantities the steps derive, `[count, num_steps]`; None where their order is fixed."""
        if self.answer_mode == 'direct' or self.told == 'between':
            return None
        places = self._told_length + np.arange(self.num_steps) * STEP_LENGTH
        return np.pad(tokens, ((0, 0), (0, self.max_length)))[:, places] - self._words.names

    def _walk(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where sentences stand in rows `[count, length]`, of this task at any number of steps.

        Returns:
            Where they begin, int `[count, most]`, the length of a row behind its last; how many tokens each
            has, 0 behind the last; and the number of told sentences, int `[count]`, which is also the place
            of the question; -1 if there is none.
        """
        count, length = tokens.shape
        stop, question = self._words.id('.'), self._words.id('How')
        padded, rows = np.pad(tokens, ((0, 0), (0, RELATION_LENGTH))), np.arange(count)
        position, starts, sizes = np.zeros(count, int), [], []
        number = np.full(count, -1)
        while ((number < 0) & (position < length)).any():
            is_told = (number < 0) & (position < length)
            is_question = is_told & (padded[rows, position] == question)
            is_short = padded[rows, position + STATEMENT_LENGTH - 1] == stop
            size = np.where(is_short, STATEMENT_LENGTH, RELATION_LENGTH)
            starts.append(position)
            sizes.append(np.where(is_question, QUESTION_LENGTH, np.where(is_told, size, 0)))
            number[is_question] = len(starts) - 1
            ahead = size + self._step_length * ~is_short
            position = np.where(number < 0, np.minimum(position + ahead, length), length)
        return np.stack([*starts, position], axis=1), np.stack([*sizes, 0 * position], axis=1), number

    def _read(self, tokens: np.ndarray) -> tuple[Sentences, np.ndarray, np.ndarray]:
        """Reads what rows `[count, length]` tell.

        Returns:
            The sentences; their faults, see `words.faults`, `[count, sentences + 1]`, the last one of the
            question and of all sentences together; and where they begin, `[count, sentences + 1]`.
        """
        words, (count, length) = self._words, tokens.shape
        starts, _, number = self._walk(tokens)
        starts = np.pad(starts, ((0, 0), (0, self.sentences + 1)), constant_values=length)
        starts = starts[:, : self.sentences + 1]
        width = max(RELATION_LENGTH, QUESTION_LENGTH)
        padded = np.pad(tokens, ((0, 0), (0, width)))
        places = (starts[:, :, None] + np.arange(width)).reshape(count, -1)
        found = np.take_along_axis(padded, places, axis=1).reshape(count, -1, width)
        fields, is_sentence = words.read(found[:, :-1, :RELATION_LENGTH])
        question = found[:, -1, :QUESTION_LENGTH]
        items = fields.pop('item')
        item = np.take_along_axis(items, (items >= 0).argmax(axis=1)[:, None], axis=1)[:, 0]
        asked = question[:, 4] - words.names
        asked_fits = (asked >= 0) & (asked < self.names)
        told = sentences_of(**fields, item=np.maximum(item, 0), asked=np.where(asked_fits, asked, 0))
        fits = asked_fits & (words.write_question(told) == question).all(axis=1)

        faults = np.zeros((count, self.sentences + 1), np.int8)
        mark(faults[:, :-1], ~is_sentence, 'no sentence')
        mark(faults[:, :-1], (items >= 0) & (items != item[:, None]), 'item')
        mark(faults[:, -1], number != self.sentences, 'number')
        mark(faults[:, -1], (told.kind == BASE).sum(axis=1) != self.alive, 'stated')
        mark(faults[:, -1], (told.kind > WISH).sum(axis=1) != self.num_steps, 'derived')
        mark(faults[:, -1], ~fits, 'question')
        if self.told == 'before':
            word_faults.check_graph(told, self.names, faults)
        else:
            word_faults.check_story(told, self.names, self.alive, self.lookback, faults)
        return told, faults, starts

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        tokens = np.asarray(tokens, np.int32)
        if not len(tokens):
            return Fault('truncated', 0, 'the text ends within the prompt')
        told, faults, starts = self._read(tokens[None])
        question = np.flatnonzero(tokens == self._words.id('How'))
        if question.size and (starts[0] < question[0]).sum() < self.sentences:
            detail = word_faults.DETAILS['number'].format(sentences=self.sentences)
            return Fault('malformed prompt', int(question[0]), detail)
        kinds = [word_faults.name_of(fault) for fault in faults[0]]
        in_form = [kind in word_faults.OF_FORM for kind in kinds]  # what it says is read if its form is right
        place = int(np.argmax(in_form if any(in_form) else faults[0] > 0))
        if not kinds[place]:
            if self.solve(told).possible[0]:
                return None
            detail = f'a quantity depends on itself or is not from 0 to {self.largest}'
            return Fault('malformed prompt', 0, detail)
        kind, start = kinds[place], int(starts[0, place])
        end = start + (RELATION_LENGTH if place < self.sentences else QUESTION_LENGTH)
        if end > len(tokens) and kind in word_faults.OF_FORM:
            return Fault('truncated', len(tokens), 'the text ends within the prompt')
        sentence = self.spell(tokens[start:end])
        detail = word_faults.DETAILS[kind].format(sentence=sentence, sentences=self.sentences, **vars(self))
        return Fault('malformed prompt', start, detail)

    def given(self, tokens: np.ndarray) -> np.ndarray:
        columns = np.arange(tokens.shape[1])
        if not self._step_length:
            return columns <= (tokens == self._words.id('?')).argmax(axis=1)[:, None]
        starts, sizes, _ = self._walk(tokens)
        given = np.zeros(tokens.shape, bool)
        for start, size in zip(starts.T[:, :, None], sizes.T[:, :, None], strict=True):
            given |= (columns >= start) & (columns < start + size)
        return given

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        if not self._step_length:
            step = (position - self._told_length) // STEP_LENGTH
            return f'step {step + 1}' if self.answer_mode == 'chain' and step < self.num_steps else 'answer'
        told, _, starts = self._read(np.asarray(tokens, np.int32)[None])
        place = int((starts[0] <= position).sum()) - 1
        if place == self.sentences:
            return 'answer'
        return f'step {int((told.kind[0, : place + 1] > WISH).sum())}'

    def _sources(self, row):
        """Both operands of a step: stated or derived quantities, or the number in a sentence."""
        told, _, starts = self._read(row[None])
        solution = self.solve(told, self._written(row[None]))
        value_at = {}
        stated = np.flatnonzero(told.kind[0] == BASE).tolist()
        for step, place in enumerate(solution.order[0]):
            while stated and (self.told == 'before' or stated[0] < place):
                base = stated.pop(0)
                value_at[told.subject[0, base]] = starts[0, base] + NUMBER_PLACES[BASE]
            kind, subject, first, second = (
                x[0, place] for x in (told.kind, told.subject, told.first, told.second)
            )
            start = starts[0, place] + RELATION_LENGTH
            if self.told == 'before':
                start = self._told_length + step * STEP_LENGTH
            other = value_at[second] if kind >= PLUS else starts[0, place] + NUMBER_PLACES[kind]
            used = [(start + STEP_PLACES['left'], value_at[first]), (start + STEP_PLACES['right'], other)]
            value_at[subject] = start + STEP_PLACES['value']
            yield int(value_at[subject]), [(int(at), int(source)) for at, source in used]
        yield len(row) - 2, [(len(row) - 2, int(value_at[told.asked[0]]))]

    def to_record(self, tokens: np.ndarray) -> dict[str, str]:
        return records.to_record(self, tokens)

    def from_record(self, record: Mapping[str, str]) -> np.ndarray:
        return records.from_record(self, record)

    @property
    def hardest_length(self) -> int:
        """The length of all that is told before the first step."""
        return self._told_length if self.told == 'before' else self.alive * STATEMENT_LENGTH

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """The lower bound from quantities alive and names to come, the upper bound from all that is told.

        Lower: consider problems that state the quantities first. Every step adds 0 to the newest quantity
        (told between the steps: to the oldest, so that none is too old), until one multiplies it by 0; the
        others then multiply the product, which stays 0, one by one. So each quantity can have any value (each
        but one, where all steps merge) and a step writes it, in an order that no reader can choose; the steps
        after a cut write all that are alive there. Told before, derived quantities can have any names, too.

        Upper: between the steps, names and values of the quantities alive, how old they are, the kinds of
        sentences told so far, and the unfinished sentence and step. Told before, all sentences and which
        steps are done.
        """
        value, name = math.log2(self.largest + 1), math.log2(self.names)
        adding = self.num_steps - self.alive + 1  # steps that keep the number of quantities
        item = math.log2(len(ITEMS))
        a_sentence = math.log2(4 * len(KINDS)) + 3 * name + value
        a_step = name + 2 * value
        stated = min(length // STATEMENT_LENGTH, self.alive)
        if self.told == 'before':
            begun = math.ceil(np.clip((length - self._told_length) / STEP_LENGTH, 0, self.num_steps))
        else:
            unit = RELATION_LENGTH + STEP_LENGTH
            behind_stated = length - self.alive * STATEMENT_LENGTH
            begun = math.ceil(np.clip(behind_stated / unit, 0, self.num_steps))
        left = self.alive if begun < adding else self.alive - 1 - (begun - adding)
        lower = min(stated, left) * value
        if self.told == 'before':
            if length >= self._told_length:
                last = self.names - self.alive - self.num_steps
                lower += sum(math.log2(last + i) for i in range(1, self.num_steps - begun + 1))
            told = min(length // STATEMENT_LENGTH + 1, self.sentences)
            return lower, item + told * a_sentence + name + self.num_steps + a_step
        maps = [math.log2(math.comb(self.names, k)) + k * value for k in range(self.alive + 1)]
        ages = self.alive * math.log2((self.lookback or 0) + 1)
        counts = math.log2((self.alive + 1) * (self.distractors + 1) * (self.num_steps + 1))
        upper = float(np.logaddexp2.reduce(maps)) + ages + counts + item + a_sentence + a_step + name
        return lower, upper


def _replaced(where: np.ndarray, values: NamedTuple, others: NamedTuple) -> NamedTuple:
    """Arrays `[count, ...]` with others in some rows."""
    return type(values)(
        *(np.where(where.reshape(-1, *[1] * (x.ndim - 1)), y, x) for x, y in zip(values, others, strict=True))
    )
