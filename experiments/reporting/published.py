"""The paper's Figure 1 beside runs of the same task, size and width."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from effxf_jax import tasks
from experiments.reporting import labels
from experiments.reporting.chart import Axis, Chart, Key, Panel, Point, Series, chart, padded, share_axis
from experiments.reporting.looks import looks_of
from experiments.reporting.records import GridRecord
from experiments.sweeping.cells import short

_TASKS = json.loads((Path(__file__).parent / 'figure1.json').read_text(encoding='utf-8'))['tasks']

SAME, NEAR = 0.02, 0.1
"""Accuracies that differ by no more than SAME are called the same, by no more than NEAR, near."""

_PAPERS_COLOUR = '#000000'


class Published(NamedTuple):
    """The paper's accuracies on a task.

    Attributes:
        lengths: the sizes, as the length of the longest sequence.
        widths: the widths.
        accuracy: shares by mechanism, `[lengths][widths]`.
    """

    lengths: list[int]
    widths: list[int]
    accuracy: dict[str, list[list[float]]]


class Cell(NamedTuple):
    """A cell of Figure 1 that was trained.

    Attributes:
        mechanism, size, width: the labels of the runs.
        seeds: the accuracy of each seed.
        published: the paper's accuracy.
    """

    mechanism: str
    size: str
    width: str
    seeds: tuple[float, ...]
    published: float

    @property
    def mean(self) -> float:
        return sum(self.seeds) / len(self.seeds)

    @property
    def verdict(self) -> str:
        difference = self.mean - self.published
        if abs(difference) <= SAME:
            return 'same'
        if abs(difference) <= NEAR:
            return 'near'
        return 'better' if difference > 0 else 'worse'


def kind(mechanism: str) -> str:
    """The paper's name for the mechanism of an axis value: 'sparse', whatever its options."""
    return short(mechanism).partition(' ')[0]


def of_task(grid: GridRecord) -> Published | None:
    """The paper's accuracies on a grid's task; None if it has none, or reports another accuracy."""
    found = _TASKS.get(grid.task)
    if found is None or grid.metric != tasks.TASKS[grid.task].metric:
        return None
    share = lambda line: [percent / 100 for percent in line]
    accuracy = {mechanism: list(map(share, lines)) for mechanism, lines in found['accuracy'].items()}
    return Published(found['sizes'], found['dims'], accuracy)


def cells(grid: GridRecord) -> list[Cell]:
    """The cells of Figure 1 at which a grid's runs have ended, in the order of the grid's axes."""
    published = of_task(grid)
    if published is None:
        return []
    found = []
    for mechanism in grid.axes['mechanism']:
        papers = published.accuracy.get(kind(mechanism))
        for size in grid.axes['size'] if papers else ():
            row = _row(grid, size)
            for width in grid.axes['width'] if row is not None else ():
                runs = grid.select(mechanism, size, width)
                seeds = tuple(a for run in runs if not math.isnan(a := grid.accuracy(run)))
                dims = {run.experiment.model.dim for run in runs if run.experiment} & {*published.widths}
                if seeds and dims:
                    share = papers[row][published.widths.index(dims.pop())]
                    found.append(Cell(mechanism, size, width, seeds, share))
    return found


def table(grid: GridRecord) -> list[dict[str, Any]]:
    """The cells as rows, each with its verdict."""
    return [
        {
            'mechanism': labels.mechanism(cell.mechanism),
            'size': short(cell.size),
            'D': labels.value(cell.width),
            labels.METRIC_NAMES[grid.metric]: f'{cell.mean:.3f}',
            'seeds': ', '.join(f'{seed:.3f}' for seed in cell.seeds),
            'paper': f'{cell.published:.3f}',
            'measured against paper': cell.verdict,
        }
        for cell in cells(grid)
    ]


def beside_paper(grid: GridRecord) -> Chart | None:
    """Accuracy over width in the paper and here, a panel for each of the paper's mechanisms."""
    found = cells(grid)
    looks = looks_of(grid.axes['mechanism'])
    published = of_task(grid)
    widths = sorted({int(labels.value(cell.width)) for cell in found})
    panels = []
    for papers, size in dict.fromkeys((kind(cell.mechanism), cell.size) for cell in found):
        here = [cell for cell in found if (kind(cell.mechanism), cell.size) == (papers, size)]
        row = published.accuracy[papers][_row(grid, size)]
        line = [
            Point(dim, share, f"paper's Figure 1, {papers}\nD={dim}: {share:.3f}")
            for dim, share in zip(published.widths, row, strict=True)
            if dim in widths
        ]
        series = [Series('paper', tuple(line), _PAPERS_COLOUR, 'square', 'dashed', is_open=True)]
        for mechanism in dict.fromkeys(cell.mechanism for cell in here):
            look = looks[mechanism]
            ours = [cell for cell in here if cell.mechanism == mechanism]
            at = lambda cell: int(labels.value(cell.width))
            mean = [Point(at(cell), cell.mean, _hover(cell)) for cell in ours]
            seeds = [Point(at(cell), seed, _hover(cell)) for cell in ours for seed in cell.seeds]
            series.append(Series(mechanism, tuple(mean), look.colour, line='solid'))
            series.append(Series(mechanism, tuple(seeds), look.colour, look.marker, is_faint=True))
        y = share_axis(labels.METRIC_NAMES[grid.metric])
        title = f'{papers}, {labels.panel_title(grid, size)}'
        panels.append(
            Panel(title, Axis('width D', widths, limits=padded(widths), is_log=True), y, tuple(series))
        )
    keys = [
        Key(m, looks[m].colour, looks[m].marker, 'solid', labels.mechanism(m))
        for m in dict.fromkeys(cell.mechanism for cell in found)
    ]
    return chart(
        'beside_paper',
        f'{labels.title(grid)}: beside Figure 1 of the paper',
        'Points: the seeds. Solid: their mean. Dashed: the paper, whose training reads a hundred times the '
        'examples or more.',
        panels,
        keys=(*keys, Key('paper', _PAPERS_COLOUR, 'square', 'dashed', 'paper, Figure 1')),
    )


def _row(grid: GridRecord, size: str) -> int | None:
    """The row of Figure 1 with a size; None if the figure has no such size."""
    task = next((run.experiment.task for run in grid.begun if run.labels[1] == size), None)
    rows = [tasks.make(grid.task, **options) for options in tasks.TASKS[grid.task].published_sizes]
    return rows.index(task) if task in rows else None


def _hover(cell: Cell) -> str:
    mean = f'{labels.mechanism(cell.mechanism)}, {short(cell.width)}: {cell.mean:.3f}'
    return f'{mean}\nseeds {", ".join(f"{seed:.3f}" for seed in cell.seeds)}\npaper {cell.published:.3f}'
