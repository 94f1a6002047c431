"""The English of word problems: every kind of sentence as a template, and its reading.

A sentence is the row of a template whose slots are filled, so writing and reading are table look-ups over
arrays of sentences.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from effxf_jax.tasks.task import PAD, Vocabulary

KINDS = ('base', 'wish', 'more', 'fewer', 'times', 'plus', 'minus', 'product')
BASE, WISH, MORE, FEWER, TIMES, PLUS, MINUS, PRODUCT = range(len(KINDS))
"""What a sentence says. A base states a quantity, a wish one that is never needed; the others derive one."""

_SENTENCES = (
    '{subject} has {number} {item} .',
    '{subject} wants {number} {item} .',
    '{subject} gets {number} more {item} than {first} {first_verb} .',
    '{subject} gets {number} fewer {item} than {first} {first_verb} .',
    '{subject} gets {number} times the {item} {first} {first_verb} .',
    '{subject} gets what {first} {first_verb} plus {second} {second_verb} .',
    '{subject} gets what {first} {first_verb} minus {second} {second_verb} .',
    '{subject} gets what {first} {first_verb} times {second} {second_verb} .',
)
QUESTION = 'How many {item} does {asked} have ?'
STEP = (
    "{subject} : {first} 's {left} {word} {second} {possessive} {right} = "
    '<< {left} {operator} {right} = {value} >> {value} , {subject} has {value} {item} .'
)
"""A number in the second operand's place is `the number 3`."""

STATEMENT_LENGTH = len(_SENTENCES[BASE].split())
RELATION_LENGTH = len(_SENTENCES[PLUS].split())
QUESTION_LENGTH = len(QUESTION.split())
STEP_LENGTH = len(STEP.split())

STEP_PLACES = {
    'left': STEP.split().index('{left}'),
    'right': STEP.split().index('{right}'),
    'value': len(STEP.split()) - 3,
}
"""Where a step takes its operands from the text, and where others find its result."""

NUMBER_PLACES = [
    sentence.split().index('{number}') if '{number}' in sentence else -1 for sentence in _SENTENCES
]
"""The place of the number in each kind of sentence, -1 where there is none."""

_SLOTS = ('', 'subject', 'number', 'item', 'first', 'first_verb', 'second', 'second_verb')

OPERATORS = '+-*'
OPERATOR_WORDS = 'plus', 'minus', 'times'
_PUNCTUATION = ('.', ',', '?', ':', "'s", '<<', '>>', *OPERATORS, '=', '####')
_WORDS = (
    *('has', 'had', 'gets', 'wants', 'How', 'many', 'does', 'have', 'more', 'fewer', 'than', 'times', 'the'),
    *('what', 'plus', 'minus', 'number'),
)
ITEMS = ('apples', 'books', 'coins', 'eggs', 'marbles', 'pens', 'shells', 'stamps')
NAMES = tuple(
    """Ann Ben Cat Dan Eve Fay Gus Hal Ida Jon Kim Leo Mia Ned Ola Pam Quin Ray Sue Tom Una Vic Wes Xia Yan
    Zoe Ada Bob Cleo Dora Emil Finn Greta Hugo Ines Jack Kate Lars Maya Nora Otto Paul Rosa Sam Tess Uma Vera
    Will Xavi Yara Zack Ali Bea Carl Dina Elsa Fred Gwen Hans Iris Jill Karl""".split()  # noqa: SIM905
)


class Sentences(NamedTuple):
    """Told sentences, in order; slots that a kind does not have are 0.

    Attributes:
        kind: the index in KINDS, int8 `[count, sentences]`.
        subject: whom the sentence is about, a name's index, int16 `[count, sentences]`.
        number: the number that it states, int32 `[count, sentences]`.
        first, second: whose quantities it refers to, names' indices, int16 `[count, sentences]`.
        first_left, second_left: whether that quantity is referred to later, bool `[count, sentences]`: the
            verb is `has`, otherwise `had`.
        item: what is counted, an index of ITEMS, int8 `[count]`.
        asked: whose quantity the question asks for, a name's index, int16 `[count]`.
    """

    kind: np.ndarray
    subject: np.ndarray
    number: np.ndarray
    first: np.ndarray
    second: np.ndarray
    first_left: np.ndarray
    second_left: np.ndarray
    item: np.ndarray
    asked: np.ndarray


def sentences_of(item: np.ndarray, asked: np.ndarray, **fields: np.ndarray) -> Sentences:
    """Sentences with the documented dtypes, from arrays of any integers."""
    dtypes = {'kind': np.int8, 'number': np.int32, 'first_left': bool, 'second_left': bool}
    typed = {name: values.astype(dtypes.get(name, np.int16)) for name, values in fields.items()}
    return Sentences(**typed, item=item.astype(np.int8), asked=asked.astype(np.int16))


class Grammar:
    """The vocabulary and the templates as arrays of token ids, for some names and the numbers 0 ... largest.

    Attributes:
        vocabulary: the tokens.
        names, items, numbers: the id of the first name, item and number; the others follow it.
    """

    def __init__(self, names: int, largest: int):
        words = [*_PUNCTUATION, *_WORDS]
        numbers = map(str, range(largest + 1))
        self.vocabulary = Vocabulary.of([*words, *ITEMS, *NAMES[:names], *numbers])
        self.items = 2 + len(words)
        self.names = self.items + len(ITEMS)
        self.numbers = self.names + names
        self._ids = self.vocabulary.ids()
        self._ranges = {  # the first id of a slot, and how many there are
            'subject': (self.names, names),
            'first': (self.names, names),
            'second': (self.names, names),
            'number': (self.numbers, largest + 1),
            'item': (self.items, len(ITEMS)),
        }
        templates = [[*sentence.split(), ''] for sentence in _SENTENCES]
        width = RELATION_LENGTH
        self._fixed = np.full((len(KINDS), width), PAD, np.int32)
        self._slots = np.zeros((len(KINDS), width), np.int8)
        for kind, template in enumerate(templates):
            for place, word in enumerate(template[:-1]):
                if word.startswith('{'):
                    self._slots[kind, place] = _SLOTS.index(word[1:-1])
                else:
                    self._fixed[kind, place] = self._ids[word]

    def id(self, word: str) -> int:
        return self._ids[word]

    def write(self, sentences: Sentences) -> np.ndarray:
        """The tokens of each sentence, int32 `[count, sentences, RELATION_LENGTH]`, short ones padded."""
        verb = lambda left: np.where(left, self.id('has'), self.id('had'))
        item = np.broadcast_to(sentences.item[:, None], sentences.kind.shape)
        fields = np.stack(
            [
                np.zeros(sentences.kind.shape, np.int32),
                self.names + sentences.subject,
                self.numbers + sentences.number,
                self.items + item,
                self.names + sentences.first,
                verb(sentences.first_left),
                self.names + sentences.second,
                verb(sentences.second_left),
            ],
            axis=2,
        ).astype(np.int32)
        slots = self._slots[sentences.kind].astype(np.intp)
        return self._fixed[sentences.kind] + np.take_along_axis(fields, slots, axis=2)

    def read(self, tokens: np.ndarray) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
        """Reads sentences, the inverse of `write`.

        Args:
            tokens: int32 `[count, sentences, RELATION_LENGTH]`; what follows a short sentence is not read.

        Returns:
            The fields of Sentences except `asked`, with the `item` of each sentence, -1 where it has none;
            and whether each is a sentence, bool `[count, sentences]`. Other fields are 0 where it is none.
        """
        shape = tokens.shape[:2]
        fields = {name: np.zeros(shape, np.int32) for name in ('kind', *_SLOTS[1:])}
        fields['item'][:] = -1
        valid = np.zeros(shape, bool)
        for kind, slots in enumerate(self._slots):
            length = STATEMENT_LENGTH if kind in (BASE, WISH) else RELATION_LENGTH
            fixed = np.flatnonzero(slots[:length] == 0)
            is_kind = (tokens[..., fixed] == self._fixed[kind, fixed]).all(axis=2)
            found = {}
            for place in np.flatnonzero(slots):
                name, token = _SLOTS[slots[place]], tokens[..., place]
                if name.endswith('_verb'):
                    found[name] = token == self.id('has')
                    is_kind &= found[name] | (token == self.id('had'))
                else:
                    start, size = self._ranges[name]
                    found[name] = token - start
                    is_kind &= (found[name] >= 0) & (found[name] < size)
            fields['kind'][is_kind] = kind
            for name, values in found.items():
                fields[name][is_kind] = values[is_kind]
            valid |= is_kind
        fields['first_left'] = fields.pop('first_verb') > 0
        fields['second_left'] = fields.pop('second_verb') > 0
        return fields, valid

    def write_question(self, sentences: Sentences) -> np.ndarray:
        """The tokens of the question, int32 `[count, QUESTION_LENGTH]`."""
        return self._fill(QUESTION, item=self.items + sentences.item, asked=self.names + sentences.asked)

    def write_step(self, **words: np.ndarray) -> np.ndarray:
        """The tokens of a step from those of its slots, int32 `[..., STEP_LENGTH]`; see STEP."""
        return self._fill(STEP, **words)

    def _fill(self, template: str, **words: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(*(np.shape(word) for word in words.values()))
        tokens = np.empty((*shape, len(template.split())), np.int32)
        for place, word in enumerate(template.split()):
            tokens[..., place] = words[word[1:-1]] if word.startswith('{') else self.id(word)
        return tokens


grammar = functools.lru_cache(maxsize=32)(Grammar)
"""The grammar of some names and numbers; made once."""
