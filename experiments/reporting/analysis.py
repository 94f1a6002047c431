"""What a grid of widths shows: the needed widths, their growth and lower bounds, and the least cost."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from effxf_jax import tasks
from effxf_jax.theory import bottleneck
from effxf_jax.theory.theorems import WidthExponent, width_exponent
from experiments.reporting import thresholds
from experiments.reporting.records import GridRecord, Run
from experiments.reporting.thresholds import Crossing, Exponent, Interval, Ratio
from experiments.sweeping.cells import short


class Widths(NamedTuple):
    """The needed widths of a grid.

    Attributes:
        needed: the width that reaches the target, by mechanism and size.
        intervals: 95% intervals of the needed widths, by mechanism and size.
        exponents: how the needed width grows with length, by mechanism; empty unless sizes differ in one
            field alone.
        bounds: the least width that the information bottleneck allows, at ceil(log2 L) bits a neuron; 0 where
            it bounds nothing.
    """

    needed: dict[tuple[str, str], Crossing]
    intervals: dict[tuple[str, str], Interval]
    exponents: dict[str, Exponent]
    bounds: dict[tuple[str, str], float]

    def ratio(self, mechanism: str, size: str) -> float:
        """The needed width over the lower bound; where the width is only bounded, its upper end counts."""
        return self.needed[mechanism, size].most / self.bounds[mechanism, size]


def widths(grid: GridRecord) -> Widths:
    """The needed widths of a grid, with all that `Widths` holds."""
    mechanisms, sizes, _ = grid.axes.values()
    needed, intervals, bounds, exponents = {}, {}, {}, {}
    for mechanism in mechanisms:
        curves = {size: curve for size in sizes if (curve := grid.curve(mechanism, size)) is not None}
        for size, curve in curves.items():
            needed[mechanism, size] = thresholds.crossing(curve, grid.target)
            intervals[mechanism, size] = thresholds.interval(curve, grid.target)
            bounds[mechanism, size] = _bound(grid, mechanism, size)
        lengths = [grid.length(mechanism, size) for size in curves]
        if grid.is_of_one_size and curves:
            exponents[mechanism] = thresholds.exponent(lengths, list(curves.values()), grid.target)
    return Widths(needed, intervals, exponents, bounds)


def _bound(grid: GridRecord, mechanism: str, size: str) -> float:
    """The bottleneck's least width; 0 where the chain is not written, and no bound is claimed."""
    run = next(run for run in grid.begun if run.labels[:2] == (mechanism, size))
    experiment = run.experiment
    if experiment.task.answer_mode == 'direct':
        return 0.0
    return bottleneck.least_width(experiment.task, experiment.model).width


class Cost(NamedTuple):
    """The cheapest model, of those run, that reaches the target.

    Attributes:
        width: its width; None where no model reaches the target.
        mflops: cost of its forward pass over the longest sequence; infinite without such a model.
        state_size: how many numbers decoding keeps.
    """

    width: int | None
    mflops: float
    state_size: float


def least_costs(grid: GridRecord) -> dict[tuple[str, str], Cost]:
    """The cheapest model by mechanism and size, for all that have results."""
    mechanisms, sizes, columns = grid.axes.values()
    costs = {}
    for mechanism in mechanisms:
        for size in sizes:
            reaching = [c for c in columns if grid.mean_accuracy(mechanism, size, c) >= grid.target]
            found = [_cost(grid.select(mechanism, size, column)) for column in reaching]
            if grid.curve(mechanism, size) is not None:
                costs[mechanism, size] = min(found, key=lambda cost: cost.mflops, default=_NONE)
    return costs


_NONE = Cost(None, math.inf, math.inf)


def _cost(runs: list[Run]) -> Cost:
    """The cost of a cell, whose runs all cost the same."""
    run = next(run for run in runs if run.result)
    return Cost(run.experiment.model.dim, run.result['forward_flops'] / 1e6, run.result['state_size'])


def tables(grid: GridRecord, found: Widths) -> dict[str, list[dict[str, Any]]]:
    """The tables of a grid of widths: rows by title."""
    costs = least_costs(grid)
    rows = []
    for (mechanism, size), needed in found.needed.items():
        bound, cost = found.bounds[mechanism, size], costs.get((mechanism, size), _NONE)
        rows.append({
            'mechanism': short(mechanism),
            'size': short(size),
            'L': grid.length(mechanism, size),
            f'D reaching {grid.target:.0%}': needed_text(needed),
            'bootstrap over seeds': _interval_text(grid, mechanism, size, found.intervals[mechanism, size]),
            'lower bound': f'{bound:.2g}' if bound else '',
            'over bound': _over_bound_text(needed, bound),
            'least MFLOPs': f'{cost.mflops:,.3f}' if cost.width else 'none reaches it',
            'at D': cost.width or '',
            'state there': f'{cost.state_size:,.0f}' if cost.width else '',
        })  # fmt: skip
    growth = [
        {
            'mechanism': short(mechanism),
            'exponent': '' if math.isnan(fit.value) else f'{fit.value:.2f}',
            '95% interval': ''
            if math.isnan(fit.value)
            else range_text(*fit.interval, '.2f', least=-math.inf),
            'sizes known': f'{fit.sizes} of {len(grid.axes["size"])}',
            'agrees with': fit.verdict,
            'exponent of the bound': _bound_exponent(grid, found, mechanism),
            'paper': theory.text if (theory := theory_of(grid, mechanism)) else '',
        }
        for mechanism, fit in found.exponents.items()
    ]
    return {
        'Width and cost': rows,
        'Growth of the needed width with length': growth,
        'Ratio of needed widths': _ratios(grid) if grid.is_of_localities else [],
    }


# Lengths that differ by no more than this factor count as one.
_ALIKE = 1.1


class Comparison(NamedTuple):
    """Two sizes of which one needs a wider model, perhaps.

    Attributes:
        title: what differs between them, and what does not.
        is_of_length: whether length differs and locality does not; otherwise it is the other way round.
        ratio: the needed width of the greater size over that of the smaller one.
    """

    title: str
    is_of_length: bool
    ratio: Ratio


def comparisons(grid: GridRecord, mechanism: str) -> list[Comparison]:
    """How the needed width grows with length at one locality, and with locality at one length."""
    known = [size for size in grid.axes['size'] if grid.curve(mechanism, size) is not None]
    measure = lambda size: (grid.locality(size), grid.length(mechanism, size))
    found = []
    for pair in itertools.combinations(known, 2):
        first, second = sorted(pair, key=measure)
        (locality, length), (wider, longer) = measure(first), measure(second)
        if locality == wider:
            title = f'L {length} to {longer}, locality {locality}'
        elif max(length, longer) <= _ALIKE * min(length, longer):
            title = f'locality {locality} to {wider}, L {length}, {longer}'
        else:
            continue
        curves = grid.curve(mechanism, second), grid.curve(mechanism, first)
        found.append(Comparison(title, locality == wider, thresholds.ratio(*curves, grid.target)))
    return found


def _ratios(grid: GridRecord) -> list[dict[str, str]]:
    """The comparisons as a table, a row for each mechanism."""
    rows = []
    for mechanism in grid.axes['mechanism']:
        found = {at.title: ratio_text(at.ratio) for at in comparisons(grid, mechanism)}
        rows.append({'mechanism': short(mechanism), **found})
    columns = dict.fromkeys(title for row in rows for title in row)
    return [{title: row.get(title, '') for title in columns} for row in rows]


def ratio_text(ratio: Ratio) -> str:
    """A ratio in words, with its interval where the ratio is known: `2.07 (1.14 to 2.43)`."""
    interval = range_text(*ratio.interval, '.2f')
    return interval if math.isnan(ratio.value) else f'{ratio.value:.2f} ({interval})'


def theory_of(grid: GridRecord, mechanism: str) -> WidthExponent | None:
    """What the paper proves of a mechanism on the grid's task; None where it proves nothing."""
    return width_exponent(tasks.TASKS[grid.task], short(mechanism))


def _bound_exponent(grid: GridRecord, found: Widths, mechanism: str) -> str:
    """The slope of the bottleneck's log least width over log length; empty below three lengths.

    Between two lengths the rounding of ceil(log2 L) can decide the slope.
    """
    points = [(grid.length(m, size), bound) for (m, size), bound in found.bounds.items() if m == mechanism]
    if len({length for length, _ in points}) < 3 or min(bound for _, bound in points) <= 0:
        return ''
    return f'{stats.linregress(*np.log(points).T).slope:.2f}'


def needed_text(needed: Crossing) -> str:
    """A needed width in words: `26.4`, `above 32`, `at most 8` or `reached at 32, lost above`."""
    if not math.isnan(needed.lost_above):
        return f'reached at {needed.lost_above:.0f}, lost above'
    return range_text(needed.least, needed.most, '.1f')


def _interval_text(grid: GridRecord, mechanism: str, size: str, interval: Interval) -> str:
    seeds = len(grid.curve(mechanism, size).accuracy)
    return f'{range_text(*interval, ".1f")} ({seeds})' if seeds > 1 else ''


def range_text(low: float, high: float, layout: str, least: float = 0.0) -> str:
    """An interval in words, of a quantity that is never below `least`."""
    write = lambda end: format(end, layout).removesuffix('.0')
    if low == high:
        return write(low)
    if math.isinf(high):
        return f'above {write(low)}' if low > least else 'not known'
    return f'{write(low)} to {write(high)}' if low > least else f'at most {write(high)}'


def _over_bound_text(needed: Crossing, bound: float) -> str:
    if not bound or math.isinf(needed.most):
        return ''
    return f'{"at most " if math.isnan(needed.width) else ""}{needed.most / bound:.0f}'
