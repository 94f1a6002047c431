"""How local a chain of thought is: where each step's operands come from, and what must be remembered.

A chain is abstract: steps, each with operands and one result, at positions of a text. It may be a task's or
one that people wrote. Where the text does not say which of several equal values an operand is, the operand
has several origins, and every statistic is given in two readings that enclose the others:

    nearest    each operand is the latest of its possible origins
    farthest   each operand is the earliest of its possible origins

Distances in steps concern operands that may be results of earlier steps, and choose among those results
alone; distances in tokens concern all operands with an origin, in the prompt or in a step.
"""

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

READINGS = ('nearest', 'farthest')


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        step: 0 in the prompt, or where a value is told; s >= 1 is the result of the s-th step.
        position: index of a token, from 0.
    """

    step: int
    position: int


class Operand(NamedTuple):
    """A value that a step uses.

    Attributes:
        position: index of the token where it is used.
        origins: where it may come from; several are ambiguous, none is from nowhere in the text.
    """

    position: int
    origins: tuple[Place, ...] = ()


class Step(NamedTuple):
    """A step: what it uses, and where its result stands."""

    operands: tuple[Operand, ...]
    result: Place


class Chain(NamedTuple):
    """The steps of a problem's solution in order, and the number of tokens of prompt and solution."""

    steps: tuple[Step, ...]
    length: int


def check(chain: Chain) -> None:
    """Refuses a chain whose places contradict each other.

    Raises:
        ValueError: results are out of order or misnumbered, an operand has its origin after itself, or a
            position lies outside the text.
    """
    before = -1
    for number, step in enumerate(chain.steps, 1):
        if step.result.position <= before:
            raise ValueError(f'results must stand in the order of their steps; got {step.result}')
        before = step.result.position
        if step.result.step != number:
            raise ValueError(f'the result of step {number} must have this number; got {step.result}')
        for position in (step.result.position, *(operand.position for operand in step.operands)):
            if not 0 <= position < chain.length:
                raise ValueError(
                    f'step {number} has position {position} in a text of {chain.length} tokens; expected '
                    'one from 0'
                )
        for operand in step.operands:
            for origin in operand.origins:
                if not (0 <= origin.step < number and 0 <= origin.position < operand.position):
                    raise ValueError(
                        f'step {number}: the operand at position {operand.position} must come from before; '
                        f'got {origin}'
                    )


def steps_back(chain: Chain, reading: str) -> list[list[int]]:
    """For each step the distances in steps, 1 for the step before, of its operands that are results."""
    return [
        [number - _chosen(results, reading).step for results in map(_results, step.operands) if results]
        for number, step in enumerate(chain.steps, 1)
    ]


def tokens_back(chain: Chain, reading: str) -> list[list[int]]:
    """For each step the distances in tokens of its operands, those of the prompt included."""
    return [
        [
            operand.position - _chosen(operand.origins, reading).position
            for operand in step.operands
            if operand.origins
        ]
        for step in chain.steps
    ]


def live_sets(chain: Chain, reading: str, with_prompt: bool = False) -> list[int]:
    """After each step, how many different earlier values some later step still uses.

    A value that is told between steps counts from the step after it. After the last step nothing is used:
    that an answer repeats a result is no step.

    Args:
        chain: the chain.
        reading: 'nearest' or 'farthest'.
        with_prompt: whether values of the prompt count, too; otherwise only results of steps.
    """
    last_use = {}
    for number, step in enumerate(chain.steps, 1):
        for operand in step.operands:
            candidates = operand.origins if with_prompt else _results(operand)
            if candidates:
                last_use[_chosen(candidates, reading)] = number
    results = [step.result.position for step in chain.steps]
    changes = [0] * (len(chain.steps) + 2)
    for place, number in last_use.items():
        changes[place.step or bisect.bisect_right(results, place.position) + 1] += 1
        changes[number] -= 1
    return list(itertools.accumulate(changes))[1:-1]


class Measured(NamedTuple):
    """The statistics of one reading: how often each value occurs.

    Attributes:
        steps_back: of operands that are results of earlier steps; see the module.
        tokens_back: of operands with an origin.
        step_reach: of steps: the steps back to the farthest operand; 0 if none is a result.
        token_reach: of steps: the tokens back to the farthest operand; 0 if none has an origin.
        live_results: after each step but a chain's last, the results that later steps use.
        live_values: the same, values of the prompt included.
    """

    steps_back: Counter[int]
    tokens_back: Counter[int]
    step_reach: Counter[int]
    token_reach: Counter[int]
    live_results: Counter[int]
    live_values: Counter[int]


class Summary(NamedTuple):
    """Statistics of many chains.

    Attributes:
        chains: how many.
        lengths: how many chains have so many tokens.
        steps: how many chains have so many steps.
        operands: how many, of all steps.
        ambiguous: those with several origins.
        homeless: those with none.
        readings: the statistics by reading.
    """

    chains: int
    lengths: Counter[int]
    steps: Counter[int]
    operands: int
    ambiguous: int
    homeless: int
    readings: Mapping[str, Measured]


def summarize(chains: Iterable[Chain]) -> Summary:
    """Summarizes chains, one at a time, in memory that does not grow with their number.

    Raises:
        ValueError: a chain contradicts itself; see `check`.
    """
    count = operands = ambiguous = homeless = 0
    lengths, steps = Counter(), Counter()
    readings = {reading: Measured(*(Counter() for _ in Measured._fields)) for reading in READINGS}
    for chain in chains:
        check(chain)
        count += 1
        lengths[chain.length] += 1
        steps[len(chain.steps)] += 1
        origins = [len(operand.origins) for step in chain.steps for operand in step.operands]
        operands += len(origins)
        ambiguous += sum(number > 1 for number in origins)
        homeless += origins.count(0)
        for reading, measured in readings.items():
            in_steps, in_tokens = steps_back(chain, reading), tokens_back(chain, reading)
            measured.steps_back.update(itertools.chain(*in_steps))
            measured.tokens_back.update(itertools.chain(*in_tokens))
            measured.step_reach.update(max(distances, default=0) for distances in in_steps)
            measured.token_reach.update(max(distances, default=0) for distances in in_tokens)
            measured.live_results.update(live_sets(chain, reading)[:-1])
            measured.live_values.update(live_sets(chain, reading, with_prompt=True)[:-1])
    return Summary(count, lengths, steps, operands, ambiguous, homeless, readings)


def share_within(counts: Mapping[int, int], most: int) -> float:
    """The share of the counted that are at most `most`; nan if nothing was counted.

    Of `step_reach` it is the share of steps that are m-local: every operand that is an earlier result is at
    most m steps back. Of `token_reach` it is the same in tokens, for all operands.
    """
    total = sum(counts.values())
    return sum(count for value, count in counts.items() if value <= most) / total if total else math.nan


def quantile(counts: Mapping[int, int], share: float) -> float:
    """The least value such that at least this share of the counted is no larger; nan without any."""
    below, total = 0, sum(counts.values())
    for value in sorted(counts):
        below += counts[value]
        if below >= share * total:
            return value
    return math.nan


def mean(counts: Mapping[int, int]) -> float:
    """The mean of the counted; nan if nothing was counted."""
    total = sum(counts.values())
    return sum(value * count for value, count in counts.items()) / total if total else math.nan


def _results(operand: Operand) -> tuple[Place, ...]:
    return tuple(origin for origin in operand.origins if origin.step)


def _chosen(places: Iterable[Place], reading: str) -> Place:
    choose = {'nearest': max, 'farthest': min}[reading]
    return choose(places, key=lambda place: place.position)
