"""The information bottleneck: what must pass from a prefix to all that follows, and the width that takes.

Wherever a sequence is cut, all that a Transformer writes behind the cut depends on nothing but what is told
later, the last token before the cut and the neurons before that which later positions attend to (the
information bottleneck of the paper; that the last token is known by itself is counted by us). N neurons of p
bits have 2^(N p) values. A model that is right on all problems must not confuse two prefixes that can be told
the same and then have no right continuation in common; so, by the pigeonhole principle, N p + log2 V is at
least log2 of the size of a set of such prefixes, where V is the size of the vocabulary.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from scipy import optimize

from effxf_jax.attention import Mechanism
from effxf_jax.model import ModelConfig
from effxf_jax.tasks import Task


class WidthBound(NamedTuple):
    """A width below which no model is right on every problem.

    Attributes:
        width: D at least, not rounded; below 1 it asks nothing of a model. Infinite where nothing passes.
        bits: the task's lower bound at the cut.
        length: tokens of the prefix at whose end the sequence is cut.
        neurons: the name of those that all later output passes through.
    """

    width: float
    bits: float
    length: int
    neurons: str


def default_precision(length: int) -> int:
    """ceil(log2 L) bits: the paper's log-precision, with 1 for its constant."""
    return max(1, math.ceil(math.log2(length)))


def neurons(mechanism: Mechanism, length: int, heads: int, dim: float) -> float:
    """How many numbers of one layer reach anything behind `length` tokens; `dim` need not be whole.

    Of a position that later ones attend to, its dim activations, of which keys and values are functions;
    or else the mechanism's state.
    """
    positions = mechanism.memory(length).positions
    if positions is None:
        return mechanism.state_size(length, heads, dim / heads)
    return positions * dim


def width_bounds(task: Task, config: ModelConfig, precision: int | None = None) -> list[WidthBound]:
    """What the pigeonhole says at each of some cuts, the largest width first.

    Every cut gives a bound that holds. Taken are the task's hardest prefix and, of mechanisms that forget at
    the ends of blocks, the first and the nearest such ends and the moments before them.

    Args:
        task: the task; its lower bounds on bits count.
        config: layers, heads and mechanisms; its dim is not read.
        precision: bits of a neuron; by default `default_precision(config.max_length)`.
    """
    precision = default_precision(config.max_length) if precision is None else precision
    mechanisms = config.mechanisms()
    bounds = []
    for length in _cuts(task, mechanisms):
        bits = task.required_bits(length).lower
        needed = (bits - math.log2(task.vocabulary.size)) / precision
        # Positions before the last token, which is known by itself.
        count = lambda dim, seen=length - 1: sum(neurons(m, seen, config.num_heads, dim) for m in mechanisms)
        names = dict.fromkeys(m.memory(length - 1).name for m in mechanisms)
        bounds.append(WidthBound(_solve(count, needed), bits, length, ' and '.join(names)))
    return sorted(bounds, reverse=True)


def least_width(task: Task, config: ModelConfig, precision: int | None = None) -> WidthBound:
    """The largest of `width_bounds`."""
    return width_bounds(task, config, precision)[0]


def round_up(width: float, heads: int) -> int:
    """The least width from `width` on that a model of `heads` heads can have."""
    unit = math.lcm(heads, 2)
    return max(unit, math.ceil(width / unit) * unit)


def _cuts(task: Task, mechanisms: tuple[Mechanism, ...]) -> list[int]:
    """Lengths of prefixes to look at."""

    def candidates() -> Iterator[int]:
        yield task.hardest_length
        for size in {m.block_size for m in mechanisms if m.block_size}:
            nearest = (task.hardest_length - 1) // size
            for block in (1, nearest, nearest + 1):
                yield block * size  # the last position of a block: all before it in the block count
                yield block * size + 1  # the first of the next one

    return sorted({length for length in candidates() if 2 <= length < task.max_length})


def _solve(count, needed: float) -> float:
    """The width at which there are as many neurons as needed."""
    if needed <= 0:
        return 0.0
    if count(1.0) == 0:
        return math.inf  # no later position attends to any before
    most = 1.0
    while count(most) < needed:
        most *= 2
    return optimize.brentq(lambda dim: count(dim) - needed, 0.0, most, xtol=1e-300, rtol=1e-12)
