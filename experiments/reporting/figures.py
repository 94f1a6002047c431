"""Figures of a sweep's grids: accuracy by width, size, cost, place and step."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from experiments.reporting import plotting, thresholds
from experiments.reporting.records import GridRecord, Run
from experiments.sweeping.cells import short

_PAPER = json.loads((Path(__file__).parent / 'figure1.json').read_text())
# What the paper's figure shows: answers of arithmetic, whole chains of the others.
_PAPERS_METRIC = {
    'arithmetic': 'answer_accuracy', 'edit_distance': 'chain_accuracy', 'lis': 'chain_accuracy',
}  # fmt: skip

# Fewer rows say nothing of where errors stand.
_LEAST_ROWS = 50


def heat_maps(grid: GridRecord) -> Figure:
    """Accuracy by width and size, a map for each mechanism; below, those of the paper's Figure 1.

    The paper's are of one task and one accuracy, and stand beside no other.
    """
    mechanisms, sizes, widths = grid.axes.values()
    paper = _PAPER['tasks'].get(grid.task, {'accuracy': {}})
    is_comparable = grid.metric == _PAPERS_METRIC.get(grid.task)
    beside = [m for m in mechanisms if is_comparable and short(m) in paper['accuracy']]
    rows = 2 if beside else 1
    figure, axes = plt.subplots(
        rows, len(mechanisms), figsize=(1.6 + 2.6 * len(mechanisms), 0.9 + 2.1 * rows), squeeze=False
    )
    for column, mechanism in enumerate(mechanisms):
        ours = np.array([[grid.mean_accuracy(mechanism, s, width) for width in widths] for s in sizes])
        lengths = [plotting.size_title(grid, size) for size in sizes]
        labels = [plotting.value(width) for width in widths]
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
    axes[0, 0].set_ylabel('here, mean over seeds')
    if beside:
        axes[1, mechanisms.index(beside[0])].set_ylabel('paper, Figure 1')
    figure.suptitle(f'{plotting.title(grid)}: {plotting.METRIC_NAMES[grid.metric]}')
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
    figure, axes = plotting.row_of(len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        for mechanism, look in plotting.looks_of(mechanisms).items():
            curve = grid.curve(mechanism, size)
            if curve is None:
                continue
            everyone = np.broadcast_to(curve.widths, curve.accuracy.shape)
            axis.plot(everyone.T, curve.accuracy.T, look['marker'], color=look['color'], ms=3, alpha=0.6)
            axis.plot(curve.widths, thresholds.isotonic(curve), color=look['color'])
            axis.plot([], [], '-', **look, ms=3, label=short(mechanism))
        axis.axhline(grid.target, color='grey', lw=0.8, ls=':')
        axis.set(xscale='log', xlabel='width D', ylim=(-0.03, 1.03))
        axis.set_title(plotting.size_title(grid, size, '\n'))
        plotting.ticks(axis.xaxis, grid.widths)
    return _finished(figure, axes, grid)


def cost_frontier(grid: GridRecord) -> Figure:
    """Accuracy against the FLOPs of a forward pass, at every width."""
    mechanisms, sizes, widths = grid.axes.values()
    figure, axes = plotting.row_of(len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        for mechanism, look in plotting.looks_of(mechanisms).items():
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
        axis.set_title(plotting.size_title(grid, size, '\n'))
        plotting.ticks(axis.xaxis)
    return _finished(figure, axes, grid)


def first_errors(grid: GridRecord) -> Figure:
    """Where along the chain the first error stands, of rows that have one, at widths that all have run."""
    mechanisms, sizes, columns = grid.axes.values()
    figure, axes = plotting.row_of(len(sizes))
    looks = plotting.looks_of(mechanisms)
    for mechanism, look in looks.items():
        axes[0].plot([], [], '-', **look, ms=3, label=short(mechanism))
    for axis, size in zip(axes, sizes, strict=True):
        counted = [run for run in grid.runs if run.labels[1] == size and 'first_errors' in (run.result or {})]
        done = {m: {run.labels[2] for run in counted if run.labels[0] == m} for m in mechanisms}
        common = set.intersection(*filter(None, done.values())) if any(done.values()) else set()
        at = ', '.join(plotting.value(column) for column in columns if column in common)
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
        axis.set_title(plotting.size_title(grid, size, '\n'))
    axes[0].set_ylabel('share of wrong chains')
    axes[0].set_ylim(bottom=0)  # after all is drawn: it fixes the top as well
    plotting.shared_legend(figure, axes)
    figure.suptitle(f'{plotting.title(grid)}: first errors, of all seeds')
    return figure


def learning_curves(grid: GridRecord) -> Figure:
    """Accuracy while training, seed by seed, at the greatest width of each mechanism that has ended.

    A run that was graded once has no curve.
    """
    mechanisms, sizes, _ = grid.axes.values()
    figure, axes = plotting.row_of(len(sizes))
    looks = plotting.looks_of(mechanisms)
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
        axis.set(xlabel=xlabel, ylim=(-0.03, 1.03), title=plotting.size_title(grid, size, '\n'))
    axes[0].set_ylabel(plotting.METRIC_NAMES[grid.metric])
    plotting.shared_legend(figure, axes)
    figure.suptitle(f'{plotting.title(grid)}: a line for each seed')
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
    figure, axes = plotting.row_of(len(panels))
    looks = plotting.looks_of(grid.axes[outer[0][0]])
    for axis, panel in zip(axes, panels, strict=True):
        for first in (row[0] for row in rows if row[1:] == panel):
            look = looks[first]
            means = [grid.mean_accuracy(first, *panel, column) for column in columns]
            axis.plot([], [], '-', **look, ms=3, label=short(first))
            axis.plot(range(len(columns)), means, '-', color=look['color'])
            for place, column in enumerate(columns):
                found = [grid.accuracy(run) for run in grid.select(first, *panel, column)]
                axis.plot([place] * len(found), found, look['marker'], color=look['color'], ms=3, alpha=0.6)
        axis.set_xticks(range(len(columns)), [plotting.value(column) for column in columns])
        axis.set(xlabel=name, ylim=(-0.03, 1.03), title=' '.join(map(short, panel)))
        axis.set_xlim(-0.4, len(columns) - 0.6)
    return _finished(figure, axes, grid)


def _finished(figure: Figure, axes, grid: GridRecord) -> Figure:
    """A row of panels of accuracy, with what is said once of all."""
    axes[0].set_ylabel(plotting.METRIC_NAMES[grid.metric])
    plotting.shared_legend(figure, axes)
    figure.suptitle(plotting.title(grid))
    return figure
