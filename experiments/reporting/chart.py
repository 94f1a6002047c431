"""A figure as data: what is drawn, before anything draws it.

`figures`, `width_figures` and `width_and_cost` compute charts; `static` draws them with matplotlib and
`interactive` with plotly.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SHARES = (-0.03, 1.03)
"""Limits of an axis of shares, with room for markers at its ends."""


class Point(NamedTuple):
    """A point of a series.

    Attributes:
        x, y: where it stands.
        hover: lines of text that a reader sees on pointing at it.
        low, high: ends of a vertical interval; nan without one.
    """

    x: float
    y: float
    hover: str = ''
    low: float = math.nan
    high: float = math.nan


class Series(NamedTuple):
    """Points of one look, joined by a line or not.

    Attributes:
        name: of its `Key`; all series of a key are shown and hidden together.
        points: in the order of the line.
        colour: as #rrggbb.
        marker: a key of `static.MARKERS`; None draws no markers.
        line: 'solid', 'dashed' or 'dotted'; None draws no line.
        is_open: whether markers are outlines.
        is_faint: whether it is one seed among several, drawn small and translucent.
        hover: text of all its points, before their own.
    """

    name: str
    points: tuple[Point, ...]
    colour: str
    marker: str | None = None
    line: str | None = None
    is_open: bool = False
    is_faint: bool = False
    hover: str = ''


class Reference(NamedTuple):
    """A thin grey straight line between two points, with a text at its right end."""

    points: tuple[tuple[float, float], tuple[float, float]]
    text: str = ''


class HeatMap(NamedTuple):
    """Shares between 0 and 1 in a table of colours.

    Attributes:
        values: `[rows][columns]`; nan where nothing was measured.
        rows, columns: labels.
        hover: text of each value, `[rows][columns]`.
    """

    values: Sequence[Sequence[float]]
    rows: Sequence[str]
    columns: Sequence[str]
    hover: Sequence[Sequence[str]]


class Axis(NamedTuple):
    """An axis.

    Attributes:
        label: what it measures, with the unit.
        ticks: values that get a label; None leaves the choice to the renderer, on a linear axis.
        labels: of the ticks; None writes their values.
        limits: its ends; None leaves the choice to the renderer.
        is_log: whether it is logarithmic.
    """

    label: str
    ticks: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    limits: tuple[float, float] | None = None
    is_log: bool = False


class Panel(NamedTuple):
    """One pair of axes.

    Attributes:
        title: one or two lines.
        x, y: the axes.
        series: what is drawn; empty in a heat map.
        references: lines to compare with.
        heat_map: instead of series.
        notes: lines of text below.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...] = ()
    references: tuple[Reference, ...] = ()
    heat_map: HeatMap | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self.heat_map is None and not any(series.points for series in self.series)


class Key(NamedTuple):
    """An entry of the legend.

    Attributes:
        name: of the series that it stands for; empty in a sign, which explains a marker or a line.
        colour, marker, line, is_open: how they look.
        text: what the legend says; the name by default.
    """

    name: str
    colour: str
    marker: str | None = None
    line: str | None = None
    text: str = ''
    is_open: bool = False


class Chart(NamedTuple):
    """A figure.

    Attributes:
        name: of its file, such as `width_over_length`.
        title: one line.
        caption: what it shows and how to read it, in sentences.
        panels: none is empty.
        keys: the legend.
        legend_title: above the legend.
        signs: what markers and lines mean that no key shows.
        columns: panels in a row where there is room for them.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...] = ()
    legend_title: str = ''
    signs: tuple[Key, ...] = ()
    columns: int = 4


def chart(name: str, title: str, caption: str, panels: Iterable[Panel], **fields) -> Chart | None:
    """A chart without the panels, keys and signs that have nothing to show; None where no panel is left."""
    panels = tuple(panel for panel in panels if not panel.is_empty)
    if not panels:
        return None
    drawn = [series for panel in panels for series in panel.series if series.points]
    names = {series.name for series in drawn}
    fields['keys'] = tuple(key for key in fields.get('keys', ()) if key.name in names)
    shown = {(s.marker, None, s.is_open) for s in drawn} | {(None, s.line, False) for s in drawn}
    signs = (key for key in fields.get('signs', ()) if (key.marker, key.line, key.is_open) in shown)
    fields['signs'] = tuple(signs)
    rows = math.ceil(len(panels) / fields.get('columns', 4))
    fields['columns'] = math.ceil(len(panels) / rows)
    return Chart(name, title, caption, panels, **fields)


def share_axis(label: str) -> Axis:
    """A linear axis of shares from 0 to 1."""
    return Axis(label, (0, 0.2, 0.4, 0.6, 0.8, 1), limits=SHARES)


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """Limits of a logarithmic axis around positive values, wider by a share of their range at both ends."""
    values = [value for value in values if math.isfinite(value)]
    low, high = math.log(min(values)), math.log(max(values))
    room = share * (high - low) or 0.1
    return math.exp(low - room), math.exp(high + room)


def apart(places: Iterable[float], limits: tuple[float, float], least: float = 0.065) -> list[float]:
    """Places on a logarithmic axis whose labels do not meet: `least` of the axis from one to the next."""
    kept = []
    room = least * math.log(limits[1] / limits[0])
    for place in sorted(set(places)):
        if not kept or math.log(place / kept[-1]) >= room:
            kept.append(place)
    return kept


_FACTORS = (1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)


def round_ticks(limits: tuple[float, float]) -> list[float]:
    """Round numbers on a logarithmic axis, at least three where there are: powers of ten or finer."""
    low, high = limits
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in _FACTORS:
        ticks = [float(f'{factor}e{power}') for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    return ticks


def log_axis(label: str, values: Iterable[float], room: float = 0.06) -> Axis:
    """A logarithmic axis around values, with round ticks."""
    limits = padded(values, room)
    return Axis(label, round_ticks(limits), limits=limits, is_log=True)
