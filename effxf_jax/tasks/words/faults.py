"""What makes sentences no problem of a size."""

import numpy as np

from effxf_jax.tasks.words.grammar import PLUS, WISH, Sentences

DETAILS = {
    'no sentence': '{sentence!r} is no sentence of this task',
    'item': '{sentence!r} is about other things than the sentences before it',
    'number': 'the question comes elsewhere than after {sentences} sentences, as many as this task has',
    'stated': 'another number of stated quantities than {alive}, which this task has',
    'derived': 'another number of derived quantities than {num_steps}, which this task has',
    'question': '{sentence!r} is no question about the things told of',
    'told twice': '{sentence!r} gives a second quantity to a name',
    'unknown': '{sentence!r} refers to a quantity that is not told or not alive',
    'lookback': '{sentence!r} refers to a quantity from more than {lookback} steps ago',
    'same': '{sentence!r} refers to one quantity twice',
    'alive': 'after {sentence!r} more than {alive} quantities are alive',
    'last': 'every quantity except the one asked for must be referred to by `had` once; {sentence!r}',
}
"""The faults, with a description of each; its fields are the options and the sentence."""

OF_FORM = ('no sentence', 'item', 'number', 'question')
"""The faults of how something is said, rather than of what."""

_NAMES = ('', *DETAILS)


def mark(faults: np.ndarray, where: np.ndarray, fault: str) -> None:
    """Marks a fault, in place, where there is none yet; 0 is none."""
    faults[where & (faults == 0)] = _NAMES.index(fault)


def name_of(fault: int) -> str:
    """The key of DETAILS of a fault that `mark` has marked."""
    return _NAMES[fault]


def check_graph(told: Sentences, names: int, faults: np.ndarray) -> None:
    """Marks faults of sentences in any order, except that quantities depend on themselves.

    Args:
        told: the sentences.
        names: how many names there are.
        faults: `[count, sentences + 1]`, the last of the question; changed in place.
    """
    count = len(told.item)
    rows = np.arange(count)[:, None]

    def tally(owners, where):
        row, place = np.nonzero(where)
        return np.bincount(row * names + owners[row, place], minlength=count * names).reshape(count, names)

    states, derives, binary = told.kind != WISH, told.kind > WISH, told.kind >= PLUS
    quantities = tally(told.subject, states)
    last_uses = tally(told.first, derives & ~told.first_left) + tally(told.second, binary & ~told.second_left)
    uses = tally(told.first, derives) + tally(told.second, binary)
    is_asked = np.arange(names) == told.asked[:, None]
    misused = (last_uses != ~is_asked) | (is_asked & (uses > 0))
    of_sentences = faults[:, :-1]
    mark(of_sentences, states & (quantities[rows, told.subject] > 1), 'told twice')
    unknown = derives & (quantities[rows, told.first] == 0) | binary & (quantities[rows, told.second] == 0)
    mark(of_sentences, unknown, 'unknown')
    mark(of_sentences, binary & (told.first == told.second), 'same')
    mark(of_sentences, states & misused[rows, told.subject], 'last')


def check_story(told: Sentences, names: int, alive: int, lookback: int | None, faults: np.ndarray) -> None:
    """Marks faults of sentences each of which refers to quantities told before it; see `check_graph`."""
    rows = np.arange(len(told.item))
    living = np.zeros((len(rows), names), bool)
    made = np.zeros(living.shape, int)
    step = np.zeros(len(rows), int)
    for place in range(told.kind.shape[1]):
        kind, subject, first, second = (
            x[:, place] for x in (told.kind, told.subject, told.first, told.second)
        )
        states, derives, binary = kind != WISH, kind > WISH, kind >= PLUS
        step = step + derives
        here = faults[:, place]
        mark(here, states & living[rows, subject], 'told twice')
        for operand, refers in (first, derives), (second, binary):
            mark(here, refers & ~living[rows, operand], 'unknown')
            if lookback is not None:
                mark(here, refers & (step - made[rows, operand] > lookback), 'lookback')
        mark(here, binary & (first == second), 'same')
        living[rows, first] &= ~derives | told.first_left[:, place]
        living[rows, second] &= ~binary | told.second_left[:, place]
        living[rows, subject] |= states
        made[rows, subject] = np.where(states, step, made[rows, subject])
        mark(here, living.sum(axis=1) > alive, 'alive')
    is_asked = np.arange(names) == told.asked[:, None]
    mark(faults[:, -1], (living != is_asked).any(axis=1), 'last')
