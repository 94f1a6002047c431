"""Figures of accuracy, as charts: by width, size, cost, place in the chain and training step."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.reporting import labels, published, thresholds
from experiments.reporting.chart import (
    SHARES,
    Axis,
    Chart,
    HeatMap,
    Key,
    Panel,
    Point,
    Reference,
    Series,
    apart,
    chart,
    log_axis,
    padded,
    share_axis,
)
from experiments.reporting.looks import looks_of
from experiments.reporting.records import GridRecord, Run
from experiments.sweeping.cells import short

# Fewer wrong rows do not show where errors stand.
_LEAST_ROWS = 50


def heat_maps(grid: GridRecord) -> Chart | None:
    """Accuracy by width and size, a map for each mechanism; then the maps of the paper's Figure 1.

    The paper's maps are shown only for its tasks and with the accuracy that it reports.
    """
    mechanisms, sizes, widths = grid.axes.values()
    paper = published.of_task(grid)
    beside = dict.fromkeys(
        kind for m in mechanisms if paper and (kind := published.kind(m)) in paper.accuracy
    )
    panels = []
    columns = [labels.value(width) for width in widths]
    rows = [labels.panel_title(grid, size) for size in sizes]
    for mechanism in mechanisms:
        values = [[grid.mean_accuracy(mechanism, size, width) for width in widths] for size in sizes]
        if np.isnan(values).all():
            continue
        hover = [[_cell_hover(grid, mechanism, size, width) for width in widths] for size in sizes]
        panels.append(_map_panel(labels.mechanism(mechanism), values, rows, columns, hover))
    for kind in beside:
        values = paper.accuracy[kind]
        rows = [f'L={length}' for length in paper.lengths]
        cells = [
            [f'{row}, D={dim}: {value:.3f}' for dim, value in zip(paper.widths, line, strict=True)]
            for row, line in zip(rows, values, strict=True)
        ]
        hover = [[f"paper's Figure 1, {kind}\n{cell}" for cell in line] for line in cells]
        panels.append(
            _map_panel(f'{kind}: paper, Figure 1', values, rows, list(map(str, paper.widths)), hover)
        )
    caption = (
        f'{labels.METRIC_NAMES[grid.metric].capitalize()} in percent by width and size, mean over seeds.'
    )
    if beside:
        caption += " Below, the paper's Figure 1: its sizes and budgets differ, so compare shapes."
    columns_of_panels = min(len(mechanisms), 3)
    return chart(
        'heat_maps', _title(grid, 'accuracy by width and size'), caption, panels, columns=columns_of_panels
    )


def _map_panel(title: str, values, rows: Sequence[str], columns: Sequence[str], hover) -> Panel:
    heat_map = HeatMap(values, rows, columns, hover)
    return Panel(title, Axis('width D'), Axis(''), heat_map=heat_map)


def _cell_hover(grid: GridRecord, *point: str) -> str:
    """The runs of a cell, one a line, with their mean."""
    runs = [run for run in grid.select(*point) if not math.isnan(grid.accuracy(run))]
    words = ', '.join([labels.mechanism(point[0]), *map(short, point[1:])])
    seeds = [f'{run.name}, seed {run.seed}: {grid.accuracy(run):.3f}' for run in runs]
    mean = f'mean {grid.mean_accuracy(*point):.3f}' if runs else 'not run'
    return '\n'.join([words, mean, *seeds])


def accuracy_over_width(grid: GridRecord) -> Chart | None:
    """Every seed's accuracy, and the isotonic curve on which the needed width is read."""
    mechanisms, sizes, _ = grid.axes.values()
    looks = looks_of(mechanisms)
    limits = padded(grid.widths)
    panels = []
    for size in sizes:
        series = []
        for mechanism, look in looks.items():
            curve = grid.curve(mechanism, size)
            if curve is None:
                continue
            runs = [run for run in grid.select(mechanism, size) if not math.isnan(grid.accuracy(run))]
            points = [
                Point(run.experiment.model.dim, grid.accuracy(run), labels.hover(grid, run)) for run in runs
            ]
            series.append(Series(mechanism, tuple(points), look.colour, look.marker, is_faint=True))
            isotonic = zip(curve.widths.tolist(), thresholds.isotonic(curve).tolist(), strict=True)
            line = [
                Point(x, y, f'{labels.mechanism(mechanism)}\nisotonic curve at D={x}: {y:.3f}')
                for x, y in isotonic
            ]
            series.append(Series(mechanism, tuple(line), look.colour, line='solid'))
        x = Axis('width D', apart(grid.widths, limits, 0.08), limits=limits, is_log=True)
        panels.append(_accuracy_panel(grid, labels.panel_title(grid, size), x, series))
    caption = (
        'Points: the seeds. Lines: the isotonic regression of their mean on width, on which the needed width '
        'is read. Dotted: the target.'
    )
    return chart(
        'accuracy_over_width',
        _title(grid, 'accuracy over width'),
        caption,
        panels,
        keys=_keys(looks, 'solid'),
    )


def cost_frontier(grid: GridRecord) -> Chart | None:
    """Accuracy against the FLOPs of a forward pass, at every width."""
    mechanisms, sizes, widths = grid.axes.values()
    looks = looks_of(mechanisms)
    costs = [run.result['forward_flops'] / 1e6 for run in grid.done]
    panels = []
    for size in sizes:
        series = []
        for mechanism, look in looks.items():
            found = {w: grid.select(mechanism, size, w) for w in widths}
            done = {w: next((run for run in runs if run.result), None) for w, runs in found.items()}
            points = sorted(
                _cost_point(grid, run, mechanism, size, width) for width, run in done.items() if run
            )
            series.append(Series(mechanism, tuple(points), look.colour, look.marker, 'solid'))
        x = log_axis('MFLOPs of a forward pass', costs)
        panels.append(_accuracy_panel(grid, labels.panel_title(grid, size), x, series))
    caption = (
        'Mean accuracy against the cost of a forward pass over the longest sequence, one point a width. '
        'Dotted: the target.'
    )
    return chart('cost', _title(grid, 'accuracy over cost'), caption, panels, keys=_keys(looks, 'solid'))


def _cost_point(grid: GridRecord, run: Run, *point: str) -> Point:
    mflops = run.result['forward_flops'] / 1e6
    return Point(mflops, grid.mean_accuracy(*point), f'{mflops:,.3f} MFLOPs\n{_cell_hover(grid, *point)}')


def first_errors(grid: GridRecord) -> Chart | None:
    """Where in the chain the first error stands, at the widths that all mechanisms have."""
    mechanisms, sizes, columns = grid.axes.values()
    looks = looks_of(mechanisms)
    drawn = []
    for size in sizes:
        counted = [run for run in grid.runs if run.labels[1] == size and 'first_errors' in (run.result or {})]
        done = {m: {run.labels[2] for run in counted if run.labels[0] == m} for m in mechanisms}
        common = set.intersection(*filter(None, done.values())) if any(done.values()) else set()
        at = ', '.join(labels.value(column) for column in columns if column in common)
        notes, series = [f'widths {at}'], []
        for mechanism, look in looks.items():
            runs = [run for run in counted if run.labels[0] == mechanism and run.labels[2] in common]
            counts = np.sum([run.result['first_errors'] for run in runs], axis=0) if runs else np.zeros(1)
            if counts.sum() >= _LEAST_ROWS:
                series.append(_error_series(mechanism, look, counts, len(runs)))
            elif runs:
                notes.append(f'{labels.mechanism(mechanism)}: only {counts.sum():.0f} wrong chains')
        drawn.append((size, series, notes))
    top = max((p.y for _, series, _ in drawn for line in series for p in line.points), default=1.0)
    x = Axis('place in the chain (0: start, 1: end)', limits=(0, 1))
    y = Axis('share of wrong chains', limits=(0, 1.05 * top))
    panels = [
        Panel(labels.panel_title(grid, size), x, y, tuple(series), notes=tuple(notes))
        for size, series, notes in drawn
    ]
    caption = (
        'Place of the first error of each wrong chain, over all seeds and over the widths below each panel, '
        f'which all mechanisms have. A mechanism with fewer than {_LEAST_ROWS} wrong chains is not drawn.'
    )
    return chart(
        'first_errors', _title(grid, 'place of the first error'), caption, panels, keys=_keys(looks, 'solid')
    )


def _error_series(mechanism: str, look, counts: np.ndarray, runs: int) -> Series:
    shares = counts / counts.sum()
    places = (np.arange(len(counts)) + 0.5) / len(counts)
    name = labels.mechanism(mechanism)
    points = [
        Point(float(x), float(y), f'{name}: {count:,.0f} of {counts.sum():,.0f} wrong chains of {runs} runs')
        for x, y, count in zip(places, shares, counts, strict=True)
    ]
    return Series(mechanism, tuple(points), look.colour, look.marker, 'solid')


def learning_curves(grid: GridRecord) -> Chart | None:
    """Accuracy during training, one line a seed, at the greatest width of each mechanism that has ended.

    A run that was graded only once has no curve.
    """
    mechanisms, sizes, _ = grid.axes.values()
    looks = looks_of(mechanisms)
    panels = []
    for size in sizes:
        widest_of, series = {}, []
        for mechanism, look in looks.items():
            ended = [run for run in grid.select(mechanism, size) if run.state in ('done', 'failed')]
            widest = max((run.experiment.model.dim for run in ended if run.experiment), default=None)
            runs = [run for run in ended if run.experiment and run.experiment.model.dim == widest]
            shown = [(run, points) for run in runs if len(points := graded(grid, run)) > 1]
            for run, points in shown:
                hover = labels.hover(grid, run)
                points = tuple(Point(step, share, f'step {step:,}: {share:.3f}') for step, share in points)
                series.append(Series(mechanism, points, look.colour, line='solid', hover=hover))
            if shown:
                widest_of.setdefault(widest, []).append(labels.mechanism(mechanism))
        notes = [f'D={widest}: {", ".join(names)}' for widest, names in widest_of.items()]
        y = Axis(labels.METRIC_NAMES[grid.metric], limits=SHARES)
        title = labels.panel_title(grid, size)
        panels.append(Panel(title, Axis('training step'), y, tuple(series), notes=tuple(notes)))
    caption = (
        'Accuracy on test problems during training, one line a seed, at the greatest width of each mechanism.'
    )
    return chart(
        'learning_curves',
        _title(grid, 'accuracy during training'),
        caption,
        panels,
        keys=_keys(looks, 'solid', marked=False),
    )


def graded(grid: GridRecord, run: Run) -> list[tuple[int, float]]:
    """The steps after which a run was graded on test examples, and the accuracies."""
    points = [(line['step'], line[grid.metric]) for line in run.log if grid.metric in line]
    return points + ([(run.result['train_steps'], run.result[grid.metric])] if run.result else [])


def by_last_axis(grid: GridRecord) -> Chart | None:
    """Accuracy over the last axis of a grid that is not of widths: seeds as points, their mean as a line."""
    *_, columns = grid.axes.values()
    name = labels.field(columns[0])
    rows = dict.fromkeys(run.labels[:-1] for run in grid.runs)
    looks = looks_of(next(iter(grid.axes.values())))
    panels = []
    for rest in dict.fromkeys(row[1:] for row in rows):
        series = []
        for first in (row[0] for row in rows if row[1:] == rest):
            look = looks[first]
            mean, seeds = [], []
            for place, column in enumerate(columns):
                reached = grid.mean_accuracy(first, *rest, column)
                if math.isnan(reached):
                    continue
                mean.append(Point(place, reached, _cell_hover(grid, first, *rest, column)))
                runs = grid.select(first, *rest, column)
                found = [(grid.accuracy(run), labels.hover(grid, run)) for run in runs]
                seeds += [Point(place, *point) for point in found if not math.isnan(point[0])]
            series.append(Series(first, tuple(mean), look.colour, line='solid'))
            series.append(Series(first, tuple(seeds), look.colour, look.marker, is_faint=True))
        values = [labels.amount(column) for column in columns]
        x = Axis(name, range(len(columns)), values, (-0.4, len(columns) - 0.6))
        title = ' '.join(map(short, rest))
        panel = _accuracy_panel(grid, title, x, series)
        panels.append(panel._replace(references=()))
    caption = 'Points: the seeds. Lines: their mean.'
    return chart('accuracy', _title(grid, f'accuracy by {name}'), caption, panels, keys=_keys(looks, 'solid'))


def _accuracy_panel(grid: GridRecord, title: str, x: Axis, series: Sequence[Series]) -> Panel:
    """A panel of accuracies, with the target as a reference."""
    y = share_axis(labels.METRIC_NAMES[grid.metric])
    ends = x.limits or (0.0, 1.0)
    target = Reference(((ends[0], grid.target), (ends[1], grid.target)))
    return Panel(title, x, y, tuple(series), (target,))


def _keys(looks, line: str, marked: bool = True) -> tuple[Key, ...]:
    return tuple(
        Key(mechanism, look.colour, look.marker if marked else None, line, labels.mechanism(mechanism))
        for mechanism, look in looks.items()
    )


def _title(grid: GridRecord, what: str) -> str:
    return f'{labels.title(grid)}: {what}'
