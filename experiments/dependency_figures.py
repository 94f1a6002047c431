"""Figures of `python -m experiments.dependencies`: how far back steps reach, and how much they keep alive."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from effxf_jax.dependencies import Measured, Summary, quantile, share_within

_COLOURS = '#0072b2', '#d55e00', '#009e73', '#b5579c', '#d99a00', '#4b4453', '#2aa5d8', '#8a8a2e'
_MARKERS = 'osDPp*h8'
# Of several lines in one place, each shows through the gaps of those above.
_LINES = '-', (0, (4, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5))
_LONGEST_LINEAR, _LONGEST_MARKED = 60, 25
_READINGS = 'lines: nearest origins; shaded: up to the farthest'

Counts = Counter[int]
Summaries = Mapping[str, Summary]


class _Curve(NamedTuple):
    """What one data set draws in a panel: the counts of both readings, and its look."""

    name: str
    near: Counts
    far: Counts
    look: dict


def draw(summaries: Summaries, directory: Path) -> list[Path]:
    """Draws all figures of data sets, by name, into a directory that exists; returns their files."""
    matplotlib.use('agg')
    return [
        _locality(summaries, directory / 'locality.png'),
        _live_sets(summaries, directory / 'live_sets.png'),
        _distances(summaries, directory / 'distances.png'),
    ]


def _locality(summaries: Summaries, path: Path) -> Path:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout='constrained')
    _cumulative(left, _curves(summaries, lambda measured: measured.step_reach), first=0)
    _cumulative(right, _curves(summaries, lambda measured: measured.token_reach), first=1)
    left.set(
        title='operands that are earlier results', xlabel='m: at most so many steps back', ylabel='steps'
    )
    right.set(title='all operands, those of the prompt, too', xlabel='m: at most so many tokens back')
    return _save(figure, left, path, f'Steps that are m-local ({_READINGS})')


def _live_sets(summaries: Summaries, path: Path) -> Path:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout='constrained')
    kinds = {
        'results of earlier steps': lambda measured: measured.live_results,
        'results of earlier steps and values of the prompt': lambda measured: measured.live_values,
    }
    for axes, (title, counts_of) in zip(panels, kinds.items(), strict=True):
        _cumulative(axes, _curves(summaries, counts_of), first=0)
        axes.set(title=title, xlabel='at most so many different values that later steps still use')
    panels[0].set(ylabel='moments between two steps')
    return _save(figure, panels[0], path, f'What is kept from step to step ({_READINGS})')


def _distances(summaries: Summaries, path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(7.5, 5.2), layout='constrained')
    _cumulative(axes, _curves(summaries, lambda measured: measured.tokens_back), first=1)
    axes.set(xlabel='at most so many tokens back', ylabel='operands')
    return _save(figure, axes, path, f'From an operand to its origin ({_READINGS})')


def _curves(summaries: Summaries, counts_of: Callable[[Measured], Counts]) -> list[_Curve]:
    """The curves of the data sets of which something was counted."""
    looks = zip(itertools.cycle(_COLOURS), itertools.cycle(_LINES), itertools.cycle(_MARKERS))
    found = []
    for (name, summary), (colour, line, marker) in zip(summaries.items(), looks, strict=False):
        near, far = (counts_of(summary.readings[reading]) for reading in ('nearest', 'farthest'))
        if near:
            found.append(_Curve(name, near, far, {'color': colour, 'ls': line, 'marker': marker}))
    return found


def _cumulative(axes: Axes, curves: list[_Curve], first: int) -> None:
    """Draws for each data set the share that is at most m against m, from m = first to where all are."""
    axes.set(ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    if not curves:
        return
    last = max(max(*curve.near, *curve.far, first) for curve in curves)
    distances = np.arange(first, last + 1)
    if last <= _LONGEST_LINEAR:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    else:
        # Nothing happens left of nearly all distances.
        lowest = min(quantile(_positive(curve.near), 0.005) for curve in curves)
        distances = np.unique(np.geomspace(2 ** int(np.log2(lowest)), last, 400).astype(int))
        ticks = [2**k for k in range(int(np.log2(last)) + 1) if 2**k >= distances[0]]
        axes.set_xscale('log')
        axes.set_xticks(ticks, map(str, ticks))
        axes.set_xticks([], minor=True)
    for curve in curves:
        end = max(*curve.near, *curve.far, first)  # beyond it a line at 100% would only hide others
        x = [*distances[distances < end], end]
        shares = ([share_within(counts, m) for m in x] for counts in (curve.near, curve.far))
        _band(axes, x, *shares, curve, has_markers=len(distances) <= _LONGEST_MARKED)


def _positive(counts: Counts) -> Counts:
    """The counts of what lies at some distance; of 1 if there is nothing."""
    return Counter({value: count for value, count in counts.items() if value > 0}) or Counter([1])


def _band(
    axes: Axes,
    x: Sequence[int],
    near: Sequence[float],
    far: Sequence[float],
    curve: _Curve,
    has_markers: bool,
) -> None:
    look = curve.look if has_markers else {**curve.look, 'marker': None}
    axes.plot(x, near, **look, ms=5, lw=1.6, label=curve.name)
    axes.fill_between(x, near, far, color=curve.look['color'], alpha=0.25, lw=0)


def _save(figure: Figure, axes: Axes, path: Path, title: str) -> Path:
    figure.suptitle(title)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if axes.lines:
        figure.legend(*axes.get_legend_handles_labels(), loc='outside lower center', ncols=3, handlelength=3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
