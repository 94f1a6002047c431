"""The information bottleneck: how many bits a prefix must pass on, and the width that this requires.

Cut a sequence anywhere. What a Transformer writes after the cut depends only on tokens given later, the last
token before the cut, and the earlier neurons to which later positions attend: the information bottleneck of
the paper, except that the last token counts separately [ours]. N neurons of p bits have 2^(N p) values.
Take a set of prefixes of which no two may be confused: the same tokens can be given after both, and then no
continuation is right for both. A model that is right on all problems must tell them apart, so by the
pigeonhole principle N p + log2 V >= log2(size of the set), where V is the size of the vocabulary.
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
        width: lower bound on D, not rounded; below 1 it excludes no model. Infinite if no width is enough.
        bits: the task's lower bound on the bits that pass the cut.
        length: tokens before the cut.
        neurons: name of the neurons through which they pass.
    """

    width: float
    bits: float
    length: int
    neurons: str


def default_precision(length: int) -> int:
    """ceil(log2 L) bits per neuron: the paper's log-precision, with constant 1."""
    return max(1, math.ceil(math.log2(length)))


def neurons(mechanism: Mechanism, length: int, heads: int, dim: float) -> float:
    """How many numbers of one layer reach any position after the first `length` tokens.

    Each position to which later ones attend counts its dim activations, since keys and values are functions
    of them. A mechanism that attends to no positions counts its state. `dim` may be fractional.
    """
    positions = mechanism.memory(length).positions
    if positions is None:
        return mechanism.state_size(length, heads, dim / heads)
    return positions * dim


def width_bounds(task: Task, config: ModelConfig, precision: int | None = None) -> list[WidthBound]:
    """The pigeonhole bounds at several cuts, the largest width first.

    Every cut gives a valid bound. The cuts are at the task's hardest prefix and, if a mechanism forgets at
    the ends of blocks, just before and after the first block end and the block ends nearest to that prefix.

    Args:
        task: the task, with its lower bounds on bits.
        config: layers, heads and mechanisms; its dim is not read.
        precision: bits per neuron; by default `default_precision(config.max_length)`.
    """
    precision = default_precision(config.max_length) if precision is None else precision
    mechanisms = config.mechanisms()
    bounds = []
    for length in _cuts(task, mechanisms):
        bits = task.required_bits(length).lower
        needed = (bits - math.log2(task.vocabulary.size)) / precision
        # Positions before the last token, which counts separately.
        count = lambda dim, seen=length - 1: sum(neurons(m, seen, config.num_heads, dim) for m in mechanisms)
        names = dict.fromkeys(m.memory(length - 1).name for m in mechanisms)
        bounds.append(WidthBound(_solve(count, needed), bits, length, ' and '.join(names)))
    return sorted(bounds, reverse=True)


def least_width(task: Task, config: ModelConfig, precision: int | None = None) -> WidthBound:
    """The largest of `width_bounds`."""
    return width_bounds(task, config, precision)[0]


def round_up(width: float, heads: int) -> int:
    """The smallest width, at least `width`, that a model with `heads` heads can have."""
    unit = math.lcm(heads, 2)
    return max(unit, math.ceil(width / unit) * unit)


def _cuts(task: Task, mechanisms: tuple[Mechanism, ...]) -> list[int]:
    """Lengths of the prefixes before the cuts."""

    def candidates() -> Iterator[int]:
        yield task.hardest_length
        for size in {m.block_size for m in mechanisms if m.block_size}:
            nearest = (task.hardest_length - 1) // size
            for block in (1, nearest, nearest + 1):
                yield block * size  # cut after the last position of a block, whose earlier positions count
                yield block * size + 1  # cut after the first position of the next block

    return sorted({length for length in candidates() if 2 <= length < task.max_length})


def _solve(count, needed: float) -> float:
    """The width at which `count(width)` is the number of neurons needed."""
    if needed <= 0:
        return 0.0
    if count(1.0) == 0:
        return math.inf  # no position attends to an earlier one
    most = 1.0
    while count(most) < needed:
        most *= 2
    return optimize.brentq(lambda dim: count(dim) - needed, 0.0, most, xtol=1e-300, rtol=1e-12)
