"""Draws charts with matplotlib, for papers: PNG, PDF and SVG."""

import itertools
import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from experiments.reporting.chart import Axis, Chart, HeatMap, Key, Panel, Series

MARKERS = {
    'circle': 'o', 'square': 's', 'diamond': 'D', 'cross': 'P', 'pentagon': 'p', 'star': '*', 'hexagon': 'h',
    'octagon': '8', 'triangle-up': '^', 'triangle-down': 'v', 'x': 'X',
}  # fmt: skip
"""Matplotlib's markers by plotly's names."""

LINES = {'solid': '-', 'dashed': (0, (4, 2)), 'dotted': (0, (1, 1.5))}

# Without dates, so that the same runs make the same files.
_FORMATS = {'png': {}, 'pdf': {'CreationDate': None}, 'svg': {'Date': None}}
_GREY = '#6b7280'
_STYLE = {
    'axes.edgecolor': '#4b5563', 'axes.labelcolor': '#1b1f24', 'axes.spines.right': False,
    'axes.spines.top': False, 'axes.titlesize': 'medium', 'figure.constrained_layout.use': True,
    'figure.dpi': 110, 'font.size': 9, 'grid.color': '#e5e7eb', 'grid.linewidth': 0.6,
    'legend.frameon': False, 'savefig.dpi': 200, 'svg.hashsalt': 'effxf_jax', 'xtick.color': '#4b5563',
    'ytick.color': '#4b5563',
}  # fmt: skip


def save(chart: Chart, directory: Path, stem: str) -> None:
    """Writes a chart in every format."""
    matplotlib.use('agg')
    with plt.rc_context(_STYLE):
        figure = draw(chart)
        for suffix, metadata in _FORMATS.items():
            figure.savefig(directory / f'{stem}.{suffix}', metadata=metadata)
    plt.close(figure)


def draw(chart: Chart) -> Figure:
    """A chart as a figure of matplotlib."""
    with plt.rc_context(_STYLE):
        columns = chart.columns
        rows = math.ceil(len(chart.panels) / columns)
        figure, axes = plt.subplots(rows, columns, figsize=_size(chart, rows), squeeze=False)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
        for number, axis in enumerate(axes.flat):
            if number >= len(chart.panels):
                axis.axis('off')
                continue
            _draw_panel(axis, chart.panels[number], is_first=number % columns == 0 or not _shares_y(chart))
        figure.suptitle(chart.title, fontweight='bold', fontsize=10)
        _legend(figure, chart)
    return figure


def _size(chart: Chart, rows: int) -> tuple[float, float]:
    """Width and height in inches."""
    maps = [panel.heat_map for panel in chart.panels if panel.heat_map]
    if maps:
        tallest = max(len(heat_map.rows) for heat_map in maps)
        widest = max(len(heat_map.columns) for heat_map in maps)
        return 1.0 + chart.columns * (1.4 + 0.3 * widest), 0.6 + rows * (0.9 + 0.32 * tallest)
    if len(chart.panels) == 1:
        return 6.4, 4.6
    if chart.columns == 2:
        return 8.4, 0.9 + 3.5 * rows
    return 0.6 + 2.6 * chart.columns, 0.9 + 2.9 * rows


def _shares_y(chart: Chart) -> bool:
    """Whether all panels measure the same on the y axis, so that one label a row is enough."""
    first, *others = chart.panels
    return all(panel.y == first.y for panel in others) and not first.heat_map


def _draw_panel(axis, panel: Panel, is_first: bool) -> None:
    axis.set_title(panel.title)
    axis.set_xlabel('\n'.join([panel.x.label, *panel.notes]))
    if panel.heat_map:
        _draw_heat_map(axis, panel.heat_map)
        return
    axis.grid(True)
    axis.set_axisbelow(True)
    for series in panel.series:
        _draw_series(axis, series)
    for reference in panel.references:
        axis.plot(*np.transpose(reference.points), color=_GREY, lw=0.9, ls=LINES['dotted'], zorder=1)
        if reference.text:
            axis.annotate(
                reference.text, reference.points[1], xytext=(-2, 2), textcoords='offset points',
                color=_GREY, fontsize=8, ha='right', va='bottom',
            )  # fmt: skip
    _scale(axis, 'x', panel.x)
    _scale(axis, 'y', panel.y)
    if is_first:
        axis.set_ylabel(panel.y.label)


def _draw_series(axis, series: Series) -> None:
    if not series.points:
        return
    x, y = [p.x for p in series.points], [p.y for p in series.points]
    colour = series.colour
    for point in series.points:
        if math.isfinite(point.low) and math.isfinite(point.high):
            axis.plot([point.x] * 2, [point.low, point.high], color=colour, lw=1.3, zorder=2)
    if series.line:
        width = 1.6 if series.marker or series.line != 'solid' else 1.3
        axis.plot(x, y, color=colour, lw=width, ls=LINES[series.line], zorder=2)
    if series.marker:
        size, alpha = (3.2, 0.45) if series.is_faint else (5.5, 1)
        axis.plot(
            x, y, MARKERS[series.marker], color=colour, ms=size, alpha=alpha,
            mfc='white' if series.is_open else colour, mew=1.2 if series.is_open else 0.6, zorder=3,
        )  # fmt: skip


def _scale(axis, name: str, given: Axis) -> None:
    """Limits and ticks of one of the axes."""
    line = getattr(axis, f'{name}axis')
    axis.set(**{f'{name}scale': 'log' if given.is_log else 'linear'})
    if given.limits:
        axis.set(**{f'{name}lim': given.limits})
    if given.ticks is not None:
        line.set_ticks(
            list(given.ticks), [f'{tick:g}' for tick in given.ticks] if given.labels is None else given.labels
        )
    else:
        line.set_major_locator(MaxNLocator(4 if name == 'x' else 6, steps=[1, 2, 5, 10]))
        line.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.10g}'))
    line.set_minor_locator(NullLocator())


def _draw_heat_map(axis, heat_map: HeatMap) -> None:
    values = np.array(heat_map.values)
    axis.imshow(np.ma.masked_invalid(values), vmin=0, vmax=1, cmap='viridis', aspect='auto')
    axis.spines[:].set_visible(False)
    axis.set_xticks(range(len(heat_map.columns)), heat_map.columns)
    axis.set_yticks(range(len(heat_map.rows)), heat_map.rows)
    axis.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        text, ink = ('-', 'grey') if math.isnan(value) else (f'{100 * value:.0f}', _ink(value))
        axis.text(column, row, text, ha='center', va='center', color=ink, fontsize=8)


def _ink(value: float) -> str:
    return 'black' if value > 0.6 else 'white'


def _legend(figure: Figure, chart: Chart) -> None:
    """All keys below the panels, and below them what other markers and lines mean."""
    keys, signs = list(map(_handle, chart.keys)), list(map(_handle, chart.signs))
    # The gaps of a dashed line must show beside the marker in its middle.
    is_broken = any(key.line not in (None, 'solid') for key in (*chart.keys, *chart.signs))
    length = 3.2 if is_broken else 2.0
    if not keys + signs:
        return
    for columns in range(max(len(keys), len(signs)), 0, -1):
        blank = [Line2D([], [], ls='', label=' ')] * (-len(keys) % columns if signs else 0)
        handles = [*keys, *blank, *signs]  # signs begin a row of their own
        by_column = [handles[column::columns] for column in range(columns)]
        longest = [max(len(handle.get_label()) for handle in column) for column in by_column if column]
        if sum(0.068 * letters + 0.35 + 0.125 * length for letters in longest) < figure.get_figwidth():
            break
    title = chart.legend_title or None
    figure.legend(
        handles=list(itertools.chain(*by_column)),
        loc='outside lower center',
        ncols=columns,
        handlelength=length,
        title=title,
        title_fontsize=8,
    )


def _handle(key: Key) -> Line2D:
    return Line2D(
        [], [], color=key.colour, marker=MARKERS[key.marker] if key.marker else None, ms=5.5,
        mfc='white' if key.is_open else key.colour, ls=LINES[key.line] if key.line else '',
        label=key.text or key.name,
    )  # fmt: skip
