"""What follows from a grid of widths: the widths needed, their growth and bounds, and the least cost."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from effxf_jax.theory import bottleneck
from experiments.reporting import thresholds
from experiments.reporting.records import GridRecord, Run
from experiments.reporting.thresholds import Crossing, Exponent, Interval, Ratio
from experiments.sweeping.cells import short


class Widths(NamedTuple):
    """Of a grid.

    Attributes:
        needed: the width that reaches the target, by mechanism and size.
        intervals: of it.
        exponents: how it grows with length, by mechanism; where sizes differ in one field alone.
        bounds: the least width that the bottleneck allows, at ceil(log2 L) bits a neuron.
    """

    needed: dict[tuple[str, str], Crossing]
    intervals: dict[tuple[str, str], Interval]
    exponents: dict[str, Exponent]
    bounds: dict[tuple[str, str], float]

    def ratio(self, mechanism: str, size: str) -> float:
        """The needed width, or where it is only bounded the most that it may be, over the least allowed."""
        return self.needed[mechanism, size].most / self.bounds[mechanism, size]


def widths(grid: GridRecord) -> Widths:
    """All of it."""
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
    """The bottleneck's; 0 where the task claims none."""
    run = next(run for run in grid.begun if run.labels[:2] == (mechanism, size))
    experiment = run.experiment
    if experiment.task.answer_mode == 'direct':
        return 0.0
    return bottleneck.least_width(experiment.task, experiment.model).width


class Cost(NamedTuple):
    """The cheapest width, of those run, that reaches the target.

    Attributes:
        width: the least such; None where there is none.
        gflops: of a forward pass over the longest sequence.
        state_size: numbers that decoding keeps.
    """

    width: int | None
    gflops: float
    state_size: float


def least_costs(grid: GridRecord) -> dict[tuple[str, str], Cost]:
    """By mechanism and size, where anything was run."""
    mechanisms, sizes, columns = grid.axes.values()
    costs = {}
    for mechanism in mechanisms:
        for size in sizes:
            reaching = [c for c in columns if grid.mean_accuracy(mechanism, size, c) >= grid.target]
            found = [_cost(grid.select(mechanism, size, column)) for column in reaching]
            if grid.curve(mechanism, size) is not None:
                costs[mechanism, size] = min(found, key=lambda cost: cost.gflops, default=_NONE)
    return costs


_NONE = Cost(None, math.inf, math.inf)


def _cost(runs: list[Run]) -> Cost:
    """Of one of a cell's runs that are done; the others cost the same."""
    run = next(run for run in runs if run.result)
    return Cost(run.experiment.model.dim, run.result['forward_flops'] / 1e9, run.result['state_size'])


def tables(grid: GridRecord, found: Widths) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables of a grid of widths, by the table's title."""
    costs = least_costs(grid)
    rows = []
    for (mechanism, size), needed in found.needed.items():
        bound, cost = found.bounds[mechanism, size], costs.get((mechanism, size), _NONE)
        rows.append({
            'mechanism': short(mechanism),
            'size': short(size),
            'L': grid.length(mechanism, size),
            f'D reaching {grid.target:.0%}': _needed_text(needed),
            'bootstrap over seeds': _interval_text(grid, mechanism, size, found.intervals[mechanism, size]),
            'lower bound': f'{bound:.2g}' if bound else '',
            'over bound': _over_bound_text(needed, bound),
            'least GFLOPs': f'{cost.gflops:.4g}' if cost.width else 'none reaches it',
            'at D': cost.width or '',
            'state there': f'{cost.state_size:,.0f}' if cost.width else '',
        })  # fmt: skip
    growth = [
        {
            'mechanism': short(mechanism),
            'exponent': '' if math.isnan(fit.value) else f'{fit.value:.2f}',
            '95% interval': ''
            if math.isnan(fit.value)
            else _range_text(*fit.interval, '.2f', least=-math.inf),
            'sizes known': f'{fit.sizes} of {len(grid.axes["size"])}',
            'agrees with': fit.verdict,
            'exponent of the bound': _bound_exponent(grid, found, mechanism),
            'paper': _PAPER.get(grid.task, {}).get(short(mechanism), ''),
        }
        for mechanism, fit in found.exponents.items()
    ]
    return {
        'Width and cost': rows,
        'Growth of the needed width with length': growth,
        'Ratio of needed widths': _ratios(grid) if grid.is_of_localities else [],
    }


# Lengths that differ by no more are taken for one.
_ALIKE = 1.1


def _ratios(grid: GridRecord) -> list[dict[str, str]]:
    """How the needed width grows with length where locality stays, and with locality where length does."""
    mechanisms, sizes, _ = grid.axes.values()
    rows = []
    for mechanism in mechanisms:
        row = {'mechanism': short(mechanism)}
        known = [size for size in sizes if grid.curve(mechanism, size) is not None]
        for pair in itertools.combinations(known, 2):
            measure = lambda size, m=mechanism: (grid.locality(size), grid.length(m, size))
            first, second = sorted(pair, key=measure)
            (locality, length), (wider, longer) = measure(first), measure(second)
            if locality == wider:
                title = f'L {length} to {longer}, locality {locality}'
            elif max(length, longer) <= _ALIKE * min(length, longer):
                title = f'locality {locality} to {wider}, L {length}, {longer}'
            else:
                continue
            curves = grid.curve(mechanism, second), grid.curve(mechanism, first)
            row[title] = _ratio_of_widths_text(thresholds.ratio(*curves, grid.target))
        rows.append(row)
    columns = dict.fromkeys(title for row in rows for title in row)
    return [{title: row.get(title, '') for title in columns} for row in rows]


def _ratio_of_widths_text(ratio: Ratio) -> str:
    interval = _range_text(*ratio.interval, '.2f')
    return interval if math.isnan(ratio.value) else f'{ratio.value:.2f} ({interval})'


# Exponents of the width in the length, up to logarithms. The lower bound of 1/2 is for DP of L = O(n) tokens,
# which edit distance is not; the upper one is for any.
_PAPER = {
    'lis': {'standard': '0', 'linear': '1/2', 'sparse': '1/2'},
    'edit_distance': {'standard': '0', 'linear': 'at most 1/2', 'sparse': 'at most 1/2'},
    'arithmetic': {'standard': '0', 'linear': '1/4 or more (open)', 'sparse': '0'},
}


def _bound_exponent(grid: GridRecord, found: Widths, mechanism: str) -> str:
    """How the bottleneck's least width grows over the sizes that were run."""
    points = [(grid.length(m, size), bound) for (m, size), bound in found.bounds.items() if m == mechanism]
    if len({length for length, _ in points}) < 2 or min(bound for _, bound in points) <= 0:
        return ''
    return f'{stats.linregress(*np.log(points).T).slope:.2f}'


def _needed_text(needed: Crossing) -> str:
    if not math.isnan(needed.lost_above):
        return f'reached at {needed.lost_above:.0f}, lost above'
    return _range_text(needed.least, needed.most, '.1f')


def _interval_text(grid: GridRecord, mechanism: str, size: str, interval: Interval) -> str:
    seeds = len(grid.curve(mechanism, size).accuracy)
    return f'{_range_text(*interval, ".1f")} ({seeds})' if seeds > 1 else ''


def _range_text(low: float, high: float, layout: str, least: float = 0.0) -> str:
    """An interval in words, of what is never below `least`."""
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
