"""Draws word problems with a number of quantities alive."""

import numpy as np

from effxf_jax.tasks.words.grammar import (
    BASE,
    FEWER,
    ITEMS,
    KINDS,
    MINUS,
    MORE,
    PLUS,
    PRODUCT,
    TIMES,
    WISH,
    Sentences,
    sentences_of,
)
from effxf_jax.tasks.words.solving import derive


def draw(
    rng: np.random.Generator,
    count: int,
    *,
    steps: int,
    alive: int,
    lookback: int | None,
    wishes: int,
    largest: int,
    names: int,
    is_story: bool,
) -> Sentences:
    """Draws problems in which every step replaces one quantity alive by a new one.

    The last steps merge what is alive. The operation is drawn among those whose result is in range.

    Args:
        rng: the random generator.
        count: how many problems.
        steps, alive, lookback, largest, names: the options of `WordProblems`.
        wishes: sentences that do not matter.
        is_story: tell the sentences in the order of the steps, and let the name of a used-up quantity be
            drawn again; otherwise shuffle them and use every name once.
    """
    rows, quantities = np.arange(count), alive + steps
    sentences = quantities + wishes
    fields = {name: np.zeros((sentences, count), np.int32) for name in Sentences._fields[:-2]}
    value, name = np.empty((2, quantities, count), np.int32)
    value[:alive] = rng.integers(largest + 1, size=(alive, count))
    is_free = np.ones((count, names), bool)

    def take_name(quantity):
        name[quantity] = np.where(is_free, rng.random(is_free.shape, dtype=np.float32), -1).argmax(axis=1)
        is_free[rows, name[quantity]] = False
        fields['subject'][quantity] = name[quantity]

    for quantity in range(alive):
        take_name(quantity)
    fields['kind'][:alive], fields['number'][:alive] = BASE, value[:alive]

    living = np.repeat(np.arange(alive)[:, None], count, axis=1)  # the oldest first
    for step in range(steps):
        new, merges = alive + step, step > steps - alive
        place = _draw_place(rng, living, step, alive, lookback)
        x, others = living[place, rows], _without(living, place)
        place = (rng.random(count) * len(others)).astype(int)
        y = others[place, rows] if len(others) else x
        kind, number, result, y_first = _draw_operation(
            rng, value[x, rows], value[y, rows], largest, binary=len(others) > 0, unary=not merges
        )
        is_binary = kind >= PLUS
        x_name, y_name = name[x, rows], name[y, rows]
        fields['kind'][new], fields['number'][new], value[new] = kind, number, result
        fields['first'][new] = np.where(y_first, y_name, x_name)
        fields['second'][new] = np.where(is_binary, np.where(y_first, x_name, y_name), 0)
        y_stays = is_binary & (not merges)
        fields['first_left'][new], fields['second_left'][new] = y_stays & y_first, y_stays & ~y_first
        take_name(new)
        if is_story:
            is_free[rows, x_name] = True
            if merges:
                is_free[rows, y_name] = True
        if merges:
            others = _without(others, place)
        living = np.concatenate([others, np.full((1, count), new)])

    size = (wishes, count)
    fields['kind'][quantities:] = WISH
    fields['subject'][quantities:] = rng.integers(names, size=size)
    fields['number'][quantities:] = rng.integers(largest + 1, size=size)
    order = rng.random((count, sentences), dtype=np.float32).argsort(axis=1)
    if is_story:
        is_wish = order >= quantities
        order = np.where(is_wish, order, np.cumsum(~is_wish, axis=1) - 1)
    told = {key: np.take_along_axis(values.T, order, axis=1) for key, values in fields.items()}
    return sentences_of(**told, item=rng.integers(len(ITEMS), size=count), asked=name[-1])


def _draw_place(
    rng: np.random.Generator, living: np.ndarray, step: int, alive: int, lookback: int | None
) -> np.ndarray:
    """Draws which quantity alive a step uses up, its place in `living`, so that none waits for too long.

    A step uses up one quantity, so the k-th oldest must be used by the k-th step from now at the latest;
    where this is due, an older one or this one is drawn.
    """
    size, count = living.shape
    choices = np.full(count, size)
    if lookback is not None:
        made = living - alive  # the step that derived it; the stated ones as if one after the other
        is_due = made + lookback - step <= np.arange(size)[:, None]
        choices = np.where(is_due.any(axis=0), is_due.argmax(axis=0) + 1, size)
    return (rng.random(count) * choices).astype(int)


def _without(table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A table `[size, count]` without one entry of each column."""
    keep = np.arange(len(table) - 1)[:, None]
    return np.take_along_axis(table, keep + (keep >= place), axis=0)


def _draw_operation(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, largest: int, *, binary: bool, unary: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws operations whose result is in range.

    Args:
        rng: the random generator.
        x, y: the operands, `[count]`; an operation with a number leaves y out.
        largest: the largest result.
        binary, unary: whether operations of two quantities, and of one and a number, may be drawn.

    Returns:
        The kinds of sentence, the numbers, the results, and whether y is the first operand, each `[count]`.
    """
    x, y = x.astype(np.int64), y.astype(np.int64)
    most_times = largest // np.maximum(x, 1)
    fits = np.zeros((len(KINDS), len(x)), bool)
    if unary:
        fits[MORE], fits[FEWER], fits[TIMES] = x < largest, x > 0, (x > 0) & (most_times > 1)
    if binary:
        fits[PLUS], fits[MINUS] = x + y <= largest, True
        fits[PRODUCT] = (np.minimum(x, y) > 1) & (
            x * y <= largest
        )  # a product with 0 would soon be all there is
    kind = np.where(fits, rng.random(fits.shape), -1).argmax(axis=0)
    least = np.where(kind == TIMES, 2, 1)
    most = np.select([kind == MORE, kind == FEWER, kind == TIMES], [largest - x, x, most_times], 1)
    number = least + (rng.random(len(x)) * (most - least + 1)).astype(np.int64)
    is_binary = kind >= PLUS
    y_first = is_binary & (
        (kind == MINUS) & (y > x) | ((kind != MINUS) | (y == x)) & (rng.random(len(x)) < 0.5)
    )
    first = np.where(y_first, y, x)
    second = np.where(is_binary, np.where(y_first, x, y), number)
    return kind, np.where(is_binary, 0, number), derive(kind, first, second)[0], y_first
