"""Figures of a sweep's grids, each a function of what was read and of theory."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments.reporting import thresholds
from experiments.reporting.analysis import Widths
from experiments.reporting.records import GridRecord, Run
from experiments.reporting.thresholds import Curve, Exponent, Needed
from experiments.sweeping.cells import short

_PAPER = json.loads((Path(__file__).parent / 'figure1.json').read_text())

_COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999933')
_MARKERS = 'osDPX*h'  # one fewer than colours, so that pairs do not come again soon
_OPEN = 'open, up: beyond all widths tried\nopen, down: at most that'
# Fewer rows say nothing of where errors stand.
_LEAST_ROWS = 50
_METRIC_NAMES = {
    'answer_accuracy': 'answer accuracy',
    'chain_accuracy': 'chain accuracy',
    'teacher_forced_accuracy': 'teacher-forced accuracy',
}


def style() -> None:
    """What all figures share; no window is opened."""
    matplotlib.use('agg')
    plt.rcParams.update({
        'axes.spines.right': False, 'axes.spines.top': False, 'axes.titlesize': 'medium',
        'figure.constrained_layout.use': True,
        'figure.dpi': 110, 'font.size': 9, 'legend.frameon': False, 'savefig.dpi': 200,
        'svg.hashsalt': 'effxf_jax',
    })  # fmt: skip


def heat_maps(grid: GridRecord) -> Figure:
    """Accuracy by width and size, a map for each mechanism; below, those of the paper's Figure 1."""
    mechanisms, sizes, widths = grid.axes.values()
    paper = _PAPER['tasks'].get(grid.task, {'accuracy': {}})
    beside = [m for m in mechanisms if short(m) in paper['accuracy']]
    rows = 2 if beside else 1
    figure, axes = plt.subplots(
        rows, len(mechanisms), figsize=(1.6 + 2.6 * len(mechanisms), 0.9 + 2.1 * rows), squeeze=False
    )
    for column, mechanism in enumerate(mechanisms):
        ours = np.array([[grid.mean_accuracy(mechanism, s, width) for width in widths] for s in sizes])
        lengths = [_size_title(grid, size) for size in sizes]
        labels = [_value(width) for width in widths]
        _heat_map(axes[0, column], ours, lengths if column == 0 else [], labels)
        axes[0, column].set_title(short(mechanism))
        if rows == 1:
            axes[0, column].set_xlabel('width D')
            continue
        if mechanism not in beside:
            axes[1, column].axis('off')
            continue
        theirs = np.array(paper['accuracy'][short(mechanism)]) / 100
        lengths = [f'L={size}' for size in paper['sizes']]
        _heat_map(axes[1, column], theirs, lengths if mechanism == beside[0] else [], paper['dims'])
        axes[1, column].set_xlabel('width D')
    axes[0, 0].set_ylabel('here')
    if beside:
        axes[1, mechanisms.index(beside[0])].set_ylabel('paper, Figure 1')
    figure.suptitle(f'{_title(grid)}: {_METRIC_NAMES[grid.metric]}, mean over seeds')
    return figure


def _heat_map(axes, values: np.ndarray, rows: Sequence[str], columns: Sequence) -> None:
    axes.imshow(np.ma.masked_invalid(values), vmin=0, vmax=1, cmap='viridis', aspect='auto')
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        text, ink = ('-', 'grey') if math.isnan(value) else (f'{100 * value:.0f}', _ink(value))
        axes.text(column, row, text, ha='center', va='center', color=ink, fontsize=8)


def _ink(value: float) -> str:
    return 'black' if value > 0.6 else 'white'


def accuracy_over_width(grid: GridRecord) -> Figure:
    """Every seed's accuracy, and the isotonic curve on which the needed width is read."""
    mechanisms, sizes, _ = grid.axes.values()
    figure, axes = _row_of(len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        for mechanism, look in looks_of(mechanisms).items():
            curve = grid.curve(mechanism, size)
            if curve is None:
                continue
            everyone = np.broadcast_to(curve.widths, curve.accuracy.shape)
            axis.plot(everyone.T, curve.accuracy.T, look['marker'], color=look['color'], ms=3, alpha=0.6)
            axis.plot(curve.widths, thresholds.isotonic(curve), color=look['color'])
            axis.plot([], [], '-', **look, ms=3, label=short(mechanism))
        axis.axhline(grid.target, color='grey', lw=0.8, ls=':')
        axis.set(xscale='log', xlabel='width D', ylim=(-0.03, 1.03))
        axis.set_title(_size_title(grid, size, '\n'))
        _ticks(axis.xaxis, grid.widths)
    return _finished(figure, axes, grid)


def width_over_length(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width against length, with fits, and slopes that theory names."""
    mechanisms, sizes, _ = grid.axes.values()
    figure, axis = plt.subplots(figsize=(7.4, 4.2))
    axis.set(xscale='log', yscale='log')
    lengths = set()
    spread = np.linspace(-0.02, 0.02, len(mechanisms))
    for (mechanism, look), shift in zip(looks_of(mechanisms).items(), spread, strict=True):
        known = [size for size in sizes if (mechanism, size) in widths.needed]
        label = short(mechanism) + _exponent_text(widths.exponents.get(mechanism))
        axis.plot([], [], look['marker'], color=look['color'], label=label)
        exact = []
        for size in known:
            length, needed = grid.length(mechanism, size), widths.needed[mechanism, size]
            lengths.add(length)
            _needed_mark(axis, needed, grid.curve(mechanism, size), look, length * (1 + shift))
            if math.isfinite(needed.width):
                exact.append((length, needed.width))
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
        title=_title(grid),
    )
    _ticks(axis.xaxis, _apart(lengths))
    _ticks(axis.yaxis, grid.widths)
    axis.legend(title=f'exponent (95%)\n{_OPEN}', title_fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def _needed_mark(axis, needed: Needed, curve: Curve, look, place: float) -> None:
    """A needed width, or an open arrow at its bound where it is only bounded; and the interval."""
    beyond, below = curve.widths[-1] * 1.1, curve.widths[0] / 1.1
    colour = look['color']
    if math.isfinite(needed.width):
        axis.plot(place, needed.width, look['marker'], color=colour)
    elif math.isfinite(needed.most):
        axis.plot(place, needed.most, 'v', color=colour, mfc='none')
    else:
        axis.plot(place, beyond, '^', color=colour, mfc='none')
    axis.plot([place, place], [max(needed.low, below), min(needed.high, beyond)], color=colour, lw=1.2)


def width_over_locality(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width against how far back a step looks: panels of mechanisms, a line for each length."""
    mechanisms, sizes, _ = grid.axes.values()
    by_locality = {}
    for size in sorted(sizes, key=grid.lengths):
        by_locality.setdefault(grid.locality(size), []).append(size)
    by_locality.pop(None, None)
    # The shortest sequences of each locality, the next ones, and so on.
    alike = list(zip(*(by_locality[locality] for locality in sorted(by_locality)), strict=False))
    titles = [_lengths_text({length for size in line for length in grid.lengths(size)}) for line in alike]
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


def _width_panels(
    grid: GridRecord,
    widths: Widths,
    panels: Mapping[str, Mapping[str, Mapping[int, tuple[str, str]]]],
    xlabel: str,
) -> Figure:
    """Panels of needed widths: by title, by line, by place on the x axis the mechanism and size."""
    figure, axes = _row_of(len(panels))
    lines = list(dict.fromkeys(line for panel in panels.values() for line in panel))
    places = sorted({place for panel in panels.values() for line in panel.values() for place in line})
    looks = looks_of(lines)
    shifts = dict(zip(lines, np.linspace(-0.015, 0.015, len(lines)), strict=True))
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for name, line in panel.items():
            look, exact = looks[name], []
            axis.plot([], [], look['marker'], color=look['color'], label=name)
            for place, (mechanism, size) in line.items():
                needed = widths.needed.get((mechanism, size))
                if needed is None:
                    continue
                place *= 1 + shifts[name]
                _needed_mark(axis, needed, grid.curve(mechanism, size), look, place)
                if math.isfinite(needed.width):
                    exact.append((place, needed.width))
            if exact:
                axis.plot(*np.array(exact).T, color=look['color'], lw=1)
        axis.set(xscale='log', yscale='log', xlabel=xlabel, title=title.replace(' ', '\n', 1))
        axis.set_xlim(places[0] / 1.1, places[-1] * 1.1)
        _ticks(axis.yaxis, grid.widths)
        _ticks(axis.xaxis, places)
    axes[0].set_ylabel(f'width that reaches {grid.target:.0%}')
    _shared_legend(figure, axes, _OPEN)
    figure.suptitle(_title(grid))
    return figure


def over_bound(grid: GridRecord, widths: Widths) -> Figure:
    """The needed width over the least that the information bottleneck allows; open where at most that."""
    mechanisms, sizes, _ = grid.axes.values()
    figure, axis = plt.subplots(figsize=(5.0, 3.6))
    lengths = set()
    for mechanism, look in looks_of(mechanisms).items():
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
        title=_title(grid),
    )  # fmt: skip
    _ticks(axis.xaxis, _apart(lengths))
    _ticks(axis.yaxis)
    axis.legend()
    return figure


def cost_frontier(grid: GridRecord) -> Figure:
    """Accuracy against the FLOPs of a forward pass, at every width."""
    mechanisms, sizes, widths = grid.axes.values()
    figure, axes = _row_of(len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        for mechanism, look in looks_of(mechanisms).items():
            found = {w: grid.select(mechanism, size, w) for w in widths}
            done = {w: next((run for run in runs if run.result), None) for w, runs in found.items()}
            points = sorted(
                (run.result['forward_flops'] / 1e6, grid.mean_accuracy(mechanism, size, width))
                for width, run in done.items()
                if run
            )
            if points:
                axis.plot(*np.array(points).T, '-', **look, label=short(mechanism))
        axis.axhline(grid.target, color='grey', lw=0.8, ls=':')
        axis.set(xscale='log', xlabel='MFLOPs of a forward pass', ylim=(-0.03, 1.03))
        axis.set_title(_size_title(grid, size, '\n'))
        _ticks(axis.xaxis)
    return _finished(figure, axes, grid)


def first_errors(grid: GridRecord) -> Figure:
    """Where along the chain the first error stands, of rows that have one, at widths that all have run."""
    mechanisms, sizes, columns = grid.axes.values()
    figure, axes = _row_of(len(sizes))
    looks = looks_of(mechanisms)
    for mechanism, look in looks.items():
        axes[0].plot([], [], '-', **look, ms=3, label=short(mechanism))
    for axis, size in zip(axes, sizes, strict=True):
        counted = [run for run in grid.runs if run.labels[1] == size and 'first_errors' in (run.result or {})]
        done = {m: {run.labels[2] for run in counted if run.labels[0] == m} for m in mechanisms}
        common = set.intersection(*filter(None, done.values())) if any(done.values()) else set()
        at = ', '.join(_value(column) for column in columns if column in common)
        said = [f'at D={at}' if at else 'no width that all have']
        for mechanism, look in looks.items():
            runs = [run for run in counted if run.labels[0] == mechanism and run.labels[2] in common]
            counts = np.sum([run.result['first_errors'] for run in runs], axis=0) if runs else np.zeros(1)
            if counts.sum() >= _LEAST_ROWS:
                places = (np.arange(len(counts)) + 0.5) / len(counts)
                axis.plot(places, counts / counts.sum(), '-', **look, ms=3)
            elif runs:
                said.append(f'{short(mechanism)}: {counts.sum():.0f} wrong rows')
        axis.set(xlabel='\n'.join(['place along the chain', *said]), xlim=(0, 1))
        axis.set_title(_size_title(grid, size, '\n'))
    axes[0].set_ylabel('share of wrong chains')
    axes[0].set_ylim(bottom=0)  # after all is drawn: it fixes the top as well
    _shared_legend(figure, axes)
    figure.suptitle(f'{_title(grid)}: first errors, of all seeds')
    return figure


def learning_curves(grid: GridRecord) -> Figure:
    """Accuracy while training, seed by seed, at the greatest width of each mechanism that has ended.

    A run that was graded once has no curve.
    """
    mechanisms, sizes, _ = grid.axes.values()
    figure, axes = _row_of(len(sizes))
    looks = looks_of(mechanisms)
    for mechanism, look in looks.items():
        axes[0].plot([], [], '-', color=look['color'], label=short(mechanism))
    for axis, size in zip(axes, sizes, strict=True):
        said = []
        for mechanism, look in looks.items():
            ended = [run for run in grid.select(mechanism, size) if run.state in ('done', 'failed')]
            widest = max((run.experiment.model.dim for run in ended if run.experiment), default=None)
            runs = [run for run in ended if run.experiment and run.experiment.model.dim == widest]
            shown = [points for run in runs if len(points := _graded(grid, run)) > 1]
            for points in shown:
                axis.plot(*np.array(points).T, '-', color=look['color'], lw=1, alpha=0.8)
            if shown:
                said.append(f'{short(mechanism)}: D={widest}')
        xlabel = '\n'.join(['step', *(said or ['none was graded twice'])])
        axis.set(xlabel=xlabel, ylim=(-0.03, 1.03), title=_size_title(grid, size, '\n'))
    axes[0].set_ylabel(_METRIC_NAMES[grid.metric])
    _shared_legend(figure, axes)
    figure.suptitle(f'{_title(grid)}: a line for each seed')
    return figure


def _graded(grid: GridRecord, run: Run) -> list[tuple[int, float]]:
    """A run's steps at which test examples were graded, and the accuracies."""
    points = [(line['step'], line[grid.metric]) for line in run.log if grid.metric in line]
    return points + ([(run.result['train_steps'], run.result[grid.metric])] if run.result else [])


def by_last_axis(grid: GridRecord) -> Figure:
    """Of a grid that is not of widths: accuracy over the last axis's values, seeds as points."""
    *outer, (name, columns) = grid.axes.items()
    rows = dict.fromkeys(run.labels[:-1] for run in grid.runs)
    panels = dict.fromkeys(row[1:] for row in rows)
    figure, axes = _row_of(len(panels))
    looks = looks_of(grid.axes[outer[0][0]])
    for axis, panel in zip(axes, panels, strict=True):
        for first in (row[0] for row in rows if row[1:] == panel):
            look = looks[first]
            means = [grid.mean_accuracy(first, *panel, column) for column in columns]
            axis.plot([], [], '-', **look, ms=3, label=short(first))
            axis.plot(range(len(columns)), means, '-', color=look['color'])
            for place, column in enumerate(columns):
                found = [r.result[grid.metric] for r in grid.select(first, *panel, column) if r.result]
                axis.plot([place] * len(found), found, look['marker'], color=look['color'], ms=3, alpha=0.6)
        axis.set_xticks(range(len(columns)), [_value(column) for column in columns])
        axis.set(xlabel=name, ylim=(-0.03, 1.03), title=' '.join(map(short, panel)))
        axis.set_xlim(-0.4, len(columns) - 0.6)
    return _finished(figure, axes, grid)


def _value(label: str) -> str:
    """That of a label's first field: `8` of `dim=8`."""
    return label.partition(',')[0].partition('=')[2]


def looks_of(names: Sequence[str]) -> Mapping[str, dict[str, str]]:
    """A colour and a marker for each."""
    return {
        name: {'color': _COLOURS[i % len(_COLOURS)], 'marker': _MARKERS[i % len(_MARKERS)]}
        for i, name in enumerate(names)
    }


def _row_of(count: int):
    """Panels side by side, with room for a legend beside them."""
    figure, axes = plt.subplots(1, count, figsize=(2.2 + 2.6 * count, 3.6), sharey=True, squeeze=False)
    return figure, axes[0]


def _finished(figure: Figure, axes, grid: GridRecord) -> Figure:
    """A row of panels of accuracy, with what is said once of all."""
    axes[0].set_ylabel(_METRIC_NAMES[grid.metric])
    _shared_legend(figure, axes)
    figure.suptitle(_title(grid))
    return figure


def _shared_legend(figure: Figure, axes, title: str | None = None) -> None:
    """Of all panels, beside them."""
    by_label = {
        label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        by_label.values(), by_label.keys(), loc='outside right upper', title=title, title_fontsize=8
    )


def _ticks(axis, places: Sequence[float] | None = None) -> None:
    """Of a logarithmic axis: at these places or else at 1, 2, 5, 10 and so on, as plain numbers."""
    if places is None:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_ticks(places)
    axis.set_major_formatter('{x:g}')
    axis.set_minor_locator(NullLocator())


def _apart(lengths: Iterable[int]) -> list[int]:
    """Those whose labels do not meet on a logarithmic axis."""
    kept = []
    for length in sorted(lengths):
        if not kept or length > 1.1 * kept[-1]:
            kept.append(length)
    return kept


def _size_title(grid: GridRecord, size: str, separator: str = ', ') -> str:
    return f'{short(size)}{separator}{_lengths_text(grid.lengths(size))}'


def _lengths_text(lengths: Iterable[int]) -> str:
    return f'L={", ".join(map(str, sorted(lengths))) or "?"}'


def _title(grid: GridRecord) -> str:
    return grid.name.replace('_', ' ')


def _exponent_text(fit: Exponent | None) -> str:
    if fit is None or math.isnan(fit.value):
        return ''
    interval = f' ({fit.low:.2f} to {fit.high:.2f})' if math.isfinite(fit.low) else ' (no interval)'
    return f': {fit.value:.2f}{interval}'
