"""Figures of the width that a problem needs, as charts: over length, locality and spans."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.reporting import analysis, labels, thresholds
from experiments.reporting.analysis import Widths
from experiments.reporting.chart import (
    Axis,
    Chart,
    Key,
    Panel,
    Point,
    Reference,
    Series,
    apart,
    chart,
    log_axis,
    padded,
)
from experiments.reporting.looks import GREY, MARKERS, Look, family_look, look_of, looks_of
from experiments.reporting.records import GridRecord
from experiments.reporting.thresholds import Exponent
from experiments.sweeping.cells import short

BEYOND = Key('', GREY, 'triangle-up', text='no width tried reaches it', is_open=True)
BELOW = Key('', GREY, 'triangle-down', text='the least width tried reaches it', is_open=True)
_SIGNS = (BEYOND, BELOW, Key('', GREY, 'x', text='reached at that width, lost at a greater one'))
_BARS = f'Bars: 95% of the bootstrap over seeds. {labels.COVERAGE}'


def width_over_length(grid: GridRecord, widths: Widths) -> Chart | None:
    """The needed width against length, with fits, and slopes that theory names."""
    looks = looks_of(grid.axes['mechanism'])
    marked, x, y, keys = over_length(grid, widths, looks)
    lines = []
    for mechanism, look in looks.items():
        exact = [(at.x, at.y) for at in marked if at.mechanism == mechanism and at.is_exact]
        if len(exact) > 1:
            lines.append(_fitted(mechanism, look, exact, widths.exponents[mechanism]))
    # Below all marks there is room for the slopes of theory.
    ends = x.limits
    rise = lambda exponent: (ends[1] / ends[0]) ** exponent
    least = y.limits[0] / rise(max(thresholds.HYPOTHESES.values()))
    y = y._replace(limits=(least / 1.05, y.limits[1]))
    slopes = tuple(
        Reference(((ends[0], least), (ends[1], least * rise(exponent))), f'slope {name}')
        for name, exponent in thresholds.HYPOTHESES.items()
    )
    panel = Panel('', x, y, (*lines, *(at.series for at in marked)), slopes)
    caption = (
        f'The least width that reaches {labels.reaching(grid)}, over the length of the longest sequence. '
        f'Dashed: the fitted power law, its exponent in the legend. Dotted: exponents of theory. {_BARS}'
    )
    keys = tuple(key._replace(text=key.text + _exponent_text(widths.exponents.get(key.name))) for key in keys)
    title = f'{labels.title(grid)}: needed width over length'
    is_fitted = any(key.text != labels.mechanism(key.name) for key in keys)
    return chart(
        'width_over_length', title, caption, [panel],
        keys=keys, legend_title='exponent of L (95% interval)' if is_fitted else '', signs=_SIGNS,
    )  # fmt: skip


def over_bound(grid: GridRecord, widths: Widths) -> Chart | None:
    """The needed width over the least that the information bottleneck allows."""
    looks = looks_of(grid.axes['mechanism'])
    series = []
    for mechanism, look in looks.items():
        known = [s for s in grid.axes['size'] if widths.bounds.get((mechanism, s), 0) > 0]
        known = [s for s in known if math.isfinite(widths.ratio(mechanism, s))]
        points, open_points = [], []
        for size in known:
            ratio, is_most = widths.ratio(mechanism, size), math.isnan(widths.needed[mechanism, size].width)
            text = f'{"at most " if is_most else ""}{ratio:.0f} times the bound'
            hover = f'{_needed_hover(grid, widths, (mechanism, size))}\n{text}'
            point = Point(grid.length(mechanism, size), ratio, hover)
            (open_points if is_most else points).append(point)
        line = tuple(point._replace(hover='') for point in sorted([*points, *open_points]))
        series.append(Series(mechanism, line, look.colour, line='solid'))
        series.append(Series(mechanism, tuple(points), look.colour, look.marker))
        series.append(Series(mechanism, tuple(open_points), look.colour, look.marker, is_open=True))
    points = [point for line in series for point in line.points]
    if not points:
        return None
    x = _length_axis(point.x for point in points)
    y = log_axis('needed width / lower bound', [p.y for p in points], 0.1)
    is_open = [line for line in series if line.is_open and line.points]
    signs = tuple(Key('', GREY, line.marker, text='at most that', is_open=True) for line in is_open[:1])
    caption = 'The needed width over the least width that the information bottleneck allows.'
    return chart(
        'over_bound', f'{labels.title(grid)}: needed width over its lower bound', caption,
        [Panel('', x, y, tuple(series))], keys=_keys(looks), signs=signs,
    )  # fmt: skip


def width_over_locality(grid: GridRecord, widths: Widths) -> Chart | None:
    """The needed width against how far back a step looks: a panel a mechanism, a line a length."""
    by_locality = {}
    for size in sorted(grid.axes['size'], key=grid.lengths):
        by_locality.setdefault(grid.locality(size), []).append(size)
    by_locality.pop(None, None)
    # The shortest sequences of each locality, the next ones, and so on.
    alike = list(zip(*(by_locality[locality] for locality in sorted(by_locality)), strict=False))
    lines = {
        labels.lengths_text({length for size in line for length in grid.lengths(size)}): line
        for line in alike
    }
    panels = {
        labels.mechanism(mechanism): {
            name: {grid.locality(size): (mechanism, size) for size in line} for name, line in lines.items()
        }
        for mechanism in grid.axes['mechanism']
    }
    title = f'{labels.title(grid)}: needed width over locality'
    caption = (
        f'The least width that reaches {labels.reaching(grid)}, over the number of recent tokens that decide '
        'the next one. A panel for each mechanism, a line for sequences of similar length. ' + _BARS
    )
    return _width_panels(grid, widths, panels, ('width_over_locality', title, caption), 'locality, tokens')


def width_over_span(grid: GridRecord, widths: Widths) -> Chart | None:
    """The needed width against the size of blocks or windows: a panel a kind, a line a problem."""
    mechanisms, sizes, _ = grid.axes.values()
    panels = {}
    for mechanism in mechanisms:
        for size in sizes if grid.span(mechanism) else ():
            line = panels.setdefault(labels.kind(mechanism), {}).setdefault(labels.size_title(grid, size), {})
            line[grid.span(mechanism)] = mechanism, size
    title = f'{labels.title(grid)}: needed width over block and window size'
    caption = (
        f'The least width that reaches {labels.reaching(grid)}, over the size of blocks and windows. '
        f'A panel for each mechanism, a line for each problem. {_BARS}'
    )
    return _width_panels(grid, widths, panels, ('width_over_span', title, caption), 'block or window, tokens')


_DASHES = ('solid', 'dashed', 'dotted')


def _width_panels(
    grid: GridRecord,
    widths: Widths,
    panels: Mapping[str, Mapping[str, Mapping[int, tuple[str, str]]]],
    words: tuple[str, str, str],
    xlabel: str,
) -> Chart | None:
    """Panels of needed widths: by title, by line, by place on the x axis the mechanism and size."""
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    places = sorted({place for panel in panels.values() for line in panel.values() for place in line})
    shifts = shifts_of(names, places)
    styles = {name: (MARKERS[i % len(MARKERS)], _DASHES[i % 3]) for i, name in enumerate(names)}
    limits = padded(places, 0.1)
    x = Axis(xlabel, apart(places, limits), limits=limits, is_log=True)
    drawn = {}
    for title, panel in panels.items():
        drawn[title] = []
        for name, line in panel.items():
            marker, dash = styles[name]
            marked = [
                _needed_mark(
                    grid, widths, at, place * shifts[name], Look(look_of(at[0]).colour, marker), name
                )
                for place, at in line.items()
                if at in widths.needed
            ]
            exact = tuple(Point(at.x, at.y) for at in marked if at.is_exact)
            mechanisms = {mechanism for mechanism, _ in line.values()}
            look = (look_of if len(mechanisms) == 1 else family_look)(min(mechanisms))
            drawn[title] += [Series(name, exact, look.colour, line=dash), *(at.series for at in marked)]
    y = _width_axis(grid, (series for panel in drawn.values() for series in panel))
    shown = [Panel(title, x, y, tuple(series)) if y else None for title, series in drawn.items()]
    keys = tuple(Key(name, GREY, marker, dash) for name, (marker, dash) in styles.items())
    return chart(*words, filter(None, shown), keys=keys, signs=_SIGNS)


class _Mark(NamedTuple):
    """A needed width as it is drawn; `is_exact` where it is not only bounded."""

    mechanism: str
    x: float
    y: float
    is_exact: bool
    series: Series


def over_length(
    grid: GridRecord, widths: Widths, looks: Mapping[str, Look]
) -> tuple[list[_Mark], Axis, Axis, tuple[Key, ...]]:
    """Marks of all needed widths over length, the axes, and the legend."""
    lengths = [grid.length(*at) for at in widths.needed]
    shifts = shifts_of(looks, lengths)
    marked = []
    for mechanism, look in looks.items():
        for size in (size for m, size in widths.needed if m == mechanism):
            place = grid.length(mechanism, size) * shifts[mechanism]
            marked.append(_needed_mark(grid, widths, (mechanism, size), place, look, mechanism))
    return marked, _length_axis(lengths), _width_axis(grid, (at.series for at in marked)), _keys(looks)


def shifts_of(names: Iterable[str], places: Sequence[float]) -> dict[str, float]:
    """Factors on a logarithmic axis around places that keep marks at the same place apart."""
    names = list(names)
    room = 0.015 * math.log(max(places) / min(places))
    return dict(zip(names, np.exp(np.linspace(-room, room, len(names))).tolist(), strict=True))


def _needed_mark(
    grid: GridRecord, widths: Widths, at: tuple[str, str], place: float, look: Look, name: str
) -> _Mark:
    """A needed width or, where it is only bounded, an open triangle or a cross; and the interval."""
    tried, needed, (low, high) = grid.curve(*at).widths, widths.needed[at], widths.intervals[at]
    beyond, below = float(tried[-1]) * 1.1, float(tried[0]) / 1.1
    y, marker, is_open = beyond, 'triangle-up', True
    if math.isfinite(needed.width):
        y, marker, is_open = needed.width, look.marker, False
    elif math.isfinite(needed.lost_above):
        y, marker, is_open = needed.lost_above, 'x', False
    elif math.isfinite(needed.most):
        y, marker = needed.most, 'triangle-down'
    point = Point(place, y, _needed_hover(grid, widths, at), max(low, below), min(high, beyond))
    series = Series(name, (point,), look.colour, marker, is_open=is_open)
    return _Mark(at[0], place, y, math.isfinite(needed.width), series)


def _needed_hover(grid: GridRecord, widths: Widths, at: tuple[str, str]) -> str:
    mechanism, size = at
    seeds = len(grid.curve(*at).accuracy)
    lines = [
        f'{labels.mechanism(mechanism)}, {short(size)}, L={grid.length(*at)}',
        f'needed width {analysis.needed_text(widths.needed[at])}',
        f'95% of the bootstrap over {seeds} seeds: {analysis.range_text(*widths.intervals[at], ".1f")}',
    ]
    return '\n'.join(lines + ([f'lower bound {widths.bounds[at]:.2g}'] if widths.bounds[at] else []))


def _fitted(mechanism: str, look: Look, exact: list[tuple[float, float]], fit: Exponent) -> Series:
    x, y = np.log(exact).T
    line = np.exp(np.mean(y) + fit.value * (x - np.mean(x)))
    points = tuple(Point(float(a), float(b)) for a, b in zip(np.exp(x), line, strict=True))
    return Series(mechanism, points, look.colour, line='dashed')


def _length_axis(lengths: Iterable[float]) -> Axis:
    limits = padded(lengths := list(lengths))
    return Axis('longest sequence L, tokens', apart(lengths, limits), limits=limits, is_log=True)


def _width_axis(grid: GridRecord, series: Iterable[Series]) -> Axis | None:
    values = [v for line in series for p in line.points for v in (p.y, p.low, p.high)]
    if not values:
        return None
    limits = padded(values, 0.1)
    ticks = [width for width in grid.widths if limits[0] <= width <= limits[1]]
    return Axis(f'width that reaches {grid.target:.0%}', apart(ticks, limits), limits=limits, is_log=True)


def _keys(looks: Mapping[str, Look]) -> tuple[Key, ...]:
    return tuple(Key(m, look.colour, look.marker, text=labels.mechanism(m)) for m, look in looks.items())


def _exponent_text(fit: Exponent | None) -> str:
    if fit is None or math.isnan(fit.value):
        return ''
    if fit.sizes == 2:
        return f': {fit.value:.2f} (two sizes, no interval)'
    ends = ('open' if math.isinf(end) else f'{end:.2f}' for end in fit.interval)
    return f': {fit.value:.2f} ({" to ".join(ends)})'
