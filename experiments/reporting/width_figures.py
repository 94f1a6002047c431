"""Figures of the width that a problem needs: over length, locality, spans, and the theory's bound."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from experiments.reporting import plotting, thresholds
from experiments.reporting.analysis import Widths
from experiments.reporting.records import GridRecord
from experiments.reporting.thresholds import Exponent
from experiments.sweeping.cells import short

_MARKS = 'open, up: beyond all widths tried\nopen, down: at most that\ncross: reached there, lost above'


def width_over_length(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width against length, with fits, and slopes that theory names."""
    mechanisms, sizes, _ = grid.axes.values()
    figure, axis = plt.subplots(figsize=(7.4, 4.2))
    axis.set(xscale='log', yscale='log')
    lengths = set()
    spread = np.linspace(-0.02, 0.02, len(mechanisms))
    for (mechanism, look), shift in zip(plotting.looks_of(mechanisms).items(), spread, strict=True):
        known = [size for size in sizes if (mechanism, size) in widths.needed]
        label = short(mechanism) + _exponent_text(widths.exponents.get(mechanism))
        axis.plot([], [], look['marker'], color=look['color'], label=label)
        exact = []
        for size in known:
            length = grid.length(mechanism, size)
            lengths.add(length)
            _needed_mark(axis, grid, widths, (mechanism, size), look, length * (1 + shift))
            if math.isfinite(width := widths.needed[mechanism, size].width):
                exact.append((length, width))
        if len(exact) > 1:
            x, y = np.log(exact).T
            line = np.mean(y) + widths.exponents[mechanism].value * (x - np.mean(x))
            axis.plot(np.exp(x), np.exp(line), color=look['color'], lw=1, ls='--')
    ends = np.array([min(lengths), max(lengths)]) * [0.97, 1.03]
    least = axis.get_ylim()[0]
    for name, exponent in thresholds.HYPOTHESES.items():
        line = least * (ends / ends[0]) ** exponent
        axis.plot(ends, line, color='grey', lw=0.8, ls=':')
        axis.annotate(f'slope {name}', (ends[1], line[1]), color='grey', fontsize=8, ha='right', va='bottom')
    axis.set(
        xlabel='longest sequence L, tokens',
        ylabel=f'width that reaches {grid.target:.0%}',
        title=plotting.title(grid),
    )
    plotting.ticks(axis.xaxis, plotting.apart(lengths))
    plotting.ticks(axis.yaxis, grid.widths)
    axis.legend(title=f'exponent (95%)\n{_MARKS}', title_fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def width_over_locality(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width against how far back a step looks: panels of mechanisms, a line for each length."""
    mechanisms, sizes, _ = grid.axes.values()
    by_locality = {}
    for size in sorted(sizes, key=grid.lengths):
        by_locality.setdefault(grid.locality(size), []).append(size)
    by_locality.pop(None, None)
    # The shortest sequences of each locality, the next ones, and so on.
    alike = list(zip(*(by_locality[locality] for locality in sorted(by_locality)), strict=False))
    titles = [
        plotting.lengths_text({length for size in line for length in grid.lengths(size)}) for line in alike
    ]
    panels = {
        short(mechanism): {
            title: {grid.locality(size): (mechanism, size) for size in line}
            for title, line in zip(titles, alike, strict=True)
        }
        for mechanism in mechanisms
    }
    return _width_panels(grid, widths, panels, 'locality, tokens')


def width_over_span(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width against the size of blocks or windows: panels of kinds, a line for each problem."""
    mechanisms, sizes, _ = grid.axes.values()
    panels = {}
    for mechanism in mechanisms:
        for size in sizes if grid.span(mechanism) else ():
            line = panels.setdefault(grid.kind(mechanism), {}).setdefault(short(size), {})
            line[grid.span(mechanism)] = mechanism, size
    return _width_panels(grid, widths, panels, 'block or window, tokens')


def over_bound(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width over the least that the information bottleneck allows; open where at most that."""
    mechanisms, sizes, _ = grid.axes.values()
    figure, axis = plt.subplots(figsize=(5.0, 3.6))
    lengths = set()
    for mechanism, look in plotting.looks_of(mechanisms).items():
        known = [size for size in sizes if widths.bounds.get((mechanism, size), 0) > 0]
        points = [(grid.length(mechanism, s), widths.ratio(mechanism, s), mechanism, s) for s in known]
        points = [point for point in points if math.isfinite(point[1])]
        if not points:
            continue
        x, y = zip(*(point[:2] for point in points), strict=True)
        lengths.update(x)
        axis.plot(x, y, '-', **look, label=short(mechanism))
        at_most = [point[:2] for point in points if math.isnan(widths.needed[point[2:]].width)]
        if at_most:
            axis.plot(*np.array(at_most).T, look['marker'], color=look['color'], mfc='white')
    axis.set(
        xscale='log', yscale='log', xlabel='longest sequence L, tokens', ylabel='needed width / lower bound',
        title=plotting.title(grid),
    )  # fmt: skip
    plotting.ticks(axis.xaxis, plotting.apart(lengths))
    plotting.ticks(axis.yaxis)
    axis.legend()
    return figure


def _width_panels(
    grid: GridRecord,
    widths: Widths,
    panels: Mapping[str, Mapping[str, Mapping[int, tuple[str, str]]]],
    xlabel: str,
) -> Figure:
    """Panels of needed widths: by title, by line, by place on the x axis the mechanism and size."""
    figure, axes = plotting.row_of(len(panels))
    lines = list(dict.fromkeys(line for panel in panels.values() for line in panel))
    places = sorted({place for panel in panels.values() for line in panel.values() for place in line})
    looks = plotting.looks_of(lines)
    shifts = dict(zip(lines, np.linspace(-0.015, 0.015, len(lines)), strict=True))
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for name, line in panel.items():
            look, exact = looks[name], []
            axis.plot([], [], look['marker'], color=look['color'], label=name)
            for place, at in line.items():
                if at not in widths.needed:
                    continue
                place *= 1 + shifts[name]
                _needed_mark(axis, grid, widths, at, look, place)
                if math.isfinite(width := widths.needed[at].width):
                    exact.append((place, width))
            if exact:
                axis.plot(*np.array(exact).T, color=look['color'], lw=1)
        axis.set(xscale='log', yscale='log', xlabel=xlabel, title=title.replace(' ', '\n', 1))
        axis.set_xlim(places[0] / 1.1, places[-1] * 1.1)
        plotting.ticks(axis.yaxis, grid.widths)
        plotting.ticks(axis.xaxis, places)
    axes[0].set_ylabel(f'width that reaches {grid.target:.0%}')
    plotting.shared_legend(figure, axes, _MARKS)
    figure.suptitle(plotting.title(grid))
    return figure


def _needed_mark(axis, grid: GridRecord, widths: Widths, at: tuple[str, str], look, place: float) -> None:
    """A needed width or, where it is only bounded, an open arrow or a cross; and the interval."""
    tried, needed, (low, high) = grid.curve(*at).widths, widths.needed[at], widths.intervals[at]
    beyond, below = tried[-1] * 1.1, tried[0] / 1.1
    colour = look['color']
    if math.isfinite(needed.width):
        axis.plot(place, needed.width, look['marker'], color=colour)
    elif math.isfinite(needed.lost_above):
        axis.plot(place, needed.lost_above, 'x', color=colour)
    elif math.isfinite(needed.most):
        axis.plot(place, needed.most, 'v', color=colour, mfc='none')
    else:
        axis.plot(place, beyond, '^', color=colour, mfc='none')
    axis.plot([place, place], [max(low, below), min(high, beyond)], color=colour, lw=1.2)


def _exponent_text(fit: Exponent | None) -> str:
    if fit is None or math.isnan(fit.value):
        return ''
    ends = ('open' if math.isinf(end) else f'{end:.2f}' for end in fit.interval)
    return f': {fit.value:.2f} ({" to ".join(ends)})'
