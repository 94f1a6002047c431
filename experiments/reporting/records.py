"""What sweeps have left in their directories."""

import functools
import itertools
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from effxf_jax.runs.directory import parse_object
from effxf_jax.runs.experiment import Experiment, ExperimentError
from experiments.reporting.thresholds import Curve
from experiments.sweeping import widths
from experiments.sweeping.cells import METRICS, short

_SPANS = 'block_size', 'window'


class RecordError(ValueError):
    """A directory, or a file in it, is not what a sweep leaves there."""


@dataclass(frozen=True)
class Run:
    """One seed of one cell.

    Attributes:
        labels: the cell's value on each axis.
        path: its directory, that of its seed where several were trained side by side.
        seed: its own.
        state: 'done', 'failed', 'unfinished', 'missing' or, where a search does not ask for it, or not yet,
            'not needed'.
        error: why it failed.
        diverged: whether that is because training diverged.
        experiment: what it is to do; None where it has not begun.
        result: what result.json holds, if done.
    """

    labels: tuple[str, ...]
    path: Path
    seed: int
    state: str
    error: str | None
    diverged: bool
    experiment: Experiment | None
    result: dict[str, Any] | None

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: step, loss and, where test examples were graded, accuracies.

        A last line that a kill has torn is left out.
        """
        path = self.path / 'metrics.jsonl'
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [_parse(line, path) for line in lines if line.endswith('\n')]


@dataclass(frozen=True)
class GridRecord:
    """A grid, and how its runs stand.

    Attributes:
        sweep: the directory.
        name, task, axes, metric, search, target: as declared; see `experiments.sweeping.cells.grid`. The task
            is that of all runs, by name.
        runs: of every cell, each seed.
    """

    sweep: Path
    name: str
    task: str
    axes: dict[str, tuple[str, ...]]
    metric: str
    search: bool
    target: float
    runs: tuple[Run, ...]

    @property
    def is_of_widths(self) -> bool:
        """Whether accuracy was measured over mechanism, size and width."""
        return tuple(self.axes) == ('mechanism', 'size', 'width')

    @property
    def is_of_one_size(self) -> bool:
        """Whether sizes differ in one field alone, so that a width may be said to grow with it."""
        return not any(',' in size for size in self.axes['size'])

    @property
    def is_of_localities(self) -> bool:
        """Whether sizes differ in how far back a step looks."""
        return len({self.locality(size) for size in self.axes['size']} - {None}) > 1

    @property
    def is_of_spans(self) -> bool:
        """Whether mechanisms of one kind differ in the size of their blocks or windows."""
        kinds = [self.kind(mechanism) for mechanism in self.axes['mechanism'] if self.span(mechanism)]
        return len(set(kinds)) < len(kinds)

    @property
    def begun(self) -> list[Run]:
        return [run for run in self.runs if run.experiment is not None]

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.state == 'done']

    @property
    def widths(self) -> list[int]:
        """Those of which a run has begun."""
        return sorted({run.experiment.model.dim for run in self.begun})

    def select(self, *labels: str) -> list[Run]:
        """Its runs at these values of the first axes."""
        return [run for run in self.runs if run.labels[: len(labels)] == labels]

    def length(self, mechanism: str, size: str) -> int | None:
        """The longest sequence, in tokens; None where nothing there has begun."""
        lengths = (run.experiment.task.max_length for run in self.select(mechanism, size) if run.experiment)
        return next(lengths, None)

    def locality(self, size: str) -> int | None:
        """How many of the last tokens fix the next; None where no constant does, or nothing has begun."""
        tasks = (run.experiment.task for run in self.begun if run.labels[1] == size)
        return next((task.locality() for task in tasks), None)

    @staticmethod
    def span(mechanism: str) -> int | None:
        """The size of a mechanism's blocks, or its window; None where it names none."""
        fields = dict(part.partition('=')[::2] for part in mechanism.split(','))
        return next((int(fields[name]) for name in _SPANS if name in fields), None)

    @staticmethod
    def kind(mechanism: str) -> str:
        """A mechanism in few letters, without its span."""
        parts = mechanism.split(',')
        return short(','.join(part for part in parts if part.partition('=')[0] not in _SPANS))

    def lengths(self, size: str) -> list[int]:
        """The longest sequences at a size, in tokens: several where mechanisms differ, sorted."""
        return sorted({self.length(mechanism, size) for mechanism in self.axes['mechanism']} - {None})

    def accuracy(self, run: Run) -> float:
        """What counts of a run: 0 if it diverged; nan where it has not ended, or failed otherwise."""
        if run.result:
            return run.result[self.metric]
        return 0.0 if run.diverged else math.nan

    def mean_accuracy(self, *labels: str) -> float:
        """Over the seeds that have ended, at a point; nan where none has."""
        found = [self.accuracy(run) for run in self.select(*labels)]
        found = [accuracy for accuracy in found if not math.isnan(accuracy)]
        return sum(found) / len(found) if found else math.nan

    def curve(self, mechanism: str, size: str) -> Curve | None:
        """Accuracy over width; None where nothing has ended."""
        runs = [run for run in self.select(mechanism, size) if run.experiment]
        ended = [run for run in runs if not math.isnan(self.accuracy(run))]
        if not ended:
            return None
        widths = sorted({run.experiment.model.dim for run in ended})
        seeds = sorted({run.seed for run in ended})
        accuracy = np.full((len(seeds), len(widths)), np.nan)
        for run in ended:
            accuracy[seeds.index(run.seed), widths.index(run.experiment.model.dim)] = self.accuracy(run)
        return Curve(np.array(widths), accuracy)


def read(directories: Iterable[Path]) -> list[GridRecord]:
    """The grids of sweeps.

    Raises:
        RecordError: naming what is not as a sweep leaves it.
        OSError: something cannot be read.
    """
    return [grid for directory in directories for grid in _read_sweep(directory)]


def _read_sweep(directory: Path) -> Iterator[GridRecord]:
    path = directory / 'sweep.json'
    if not path.exists():
        raise RecordError(f'{directory} is no directory of a sweep: it has no sweep.json')
    for name, declared in _parse(path.read_text(), path).items():
        try:
            axes = {axis: tuple(values) for axis, values in declared['axes'].items()}
            _check(declared, axes, f'{path}, {name}')
            runs = tuple(run for cell in declared['cells'] for run in _read_cell(directory, cell))
            fields = {field: declared[field] for field in ('task', 'metric', 'search', 'target')}
            grid = GridRecord(directory, name, axes=axes, runs=runs, **fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(f'{path} does not declare a sweep: {type(error).__name__}: {error}') from error
        yield _without_needless(grid) if grid.search else grid


def _check(declared: dict[str, Any], axes: dict[str, tuple[str, ...]], where: str) -> None:
    """Raises RecordError where figures could not be made of a grid."""
    if declared['metric'] not in METRICS:
        raise RecordError(f'{where}: metric must be one of {", ".join(METRICS)}; got {declared["metric"]!r}')
    if {tuple(cell['labels']) for cell in declared['cells']} != set(itertools.product(*axes.values())):
        raise RecordError(f'{where}: there must be a cell for every choice of one value from each axis')


def _without_needless(grid: GridRecord) -> GridRecord:
    """The grid of a search, where it is said of what the next step does not ask for that it is not needed."""
    reached = lambda labels: [grid.accuracy(run) for run in grid.select(*labels)]
    asked = set(widths.wanted(grid.axes, reached, grid.target))
    runs = (
        replace(run, state='not needed') if run.state == 'missing' and run.labels not in asked else run
        for run in grid.runs
    )
    return replace(grid, runs=tuple(runs))


def _read_cell(directory: Path, cell: dict[str, Any]) -> Iterator[Run]:
    top = directory / cell['directory']
    failure = _read_json(top / 'failure.json')
    for seed in cell['seeds']:
        path = top if len(cell['seeds']) == 1 else top / f'seed-{seed}'
        config, result = _read_json(path / 'config.json'), _read_json(path / 'result.json')
        experiment = _experiment(config, path) if config else None
        if result is not None and (lacking := [name for name in _RESULT if name not in result]):
            raise RecordError(f'{path / "result.json"} is not the result of a run: no {", ".join(lacking)}')
        begun = 'unfinished' if experiment else 'missing'
        state = 'done' if result else 'failed' if failure else begun
        failed = failure if failure and not result else {}
        error, diverged = (failed.get('error', 'unknown') if failed else None), failed.get('diverged', False)
        yield Run(tuple(cell['labels']), path, seed, state, error, diverged, experiment, result)


_RESULT = (*METRICS, 'forward_flops', 'num_params', 'state_size', 'train_steps')
"""What is read of every result."""


def _experiment(config: dict[str, Any], path: Path) -> Experiment:
    try:
        return Experiment.from_record(config)
    except (ExperimentError, AttributeError, TypeError) as error:
        raise RecordError(f'{path / "config.json"} is not the configuration of a run: {error}') from error


def _read_json(path: Path) -> dict[str, Any] | None:
    return _parse(path.read_text(), path) if path.exists() else None


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return parse_object(text)
    except ValueError as error:
        raise RecordError(f'{path} {error}') from error


_KEPT = ('config.json', 'result.json', 'failure.json')
_KEPT_EVERY = 100
_EXPORTED = 'done', 'failed', 'unfinished'


def export(directory: Path, target: Path) -> int:
    """Copies a sweep's small files: no checkpoints, and of logs every hundredth step and each evaluation.

    What an earlier export has left there stays, unless the directory has something newer: the grids and runs
    that it does not have, or has not begun.

    Returns:
        How many runs are copied, all those that have begun, or failed before.
    """
    grids = list(_read_sweep(directory))
    target.mkdir(parents=True, exist_ok=True)
    declared = [_read_json(place / 'sweep.json') or {} for place in (target, directory)]
    (target / 'sweep.json').write_text(json.dumps(declared[0] | declared[1], indent=1) + '\n')
    runs = {run.path: run for grid in grids for run in grid.runs if run.state in _EXPORTED}
    # Of cells, and of their seeds.
    for place in {place for path in runs for place in (path, path.parent) if place.exists()} - {directory}:
        there = target / place.relative_to(directory)
        there.mkdir(parents=True, exist_ok=True)
        for name in _KEPT:
            if (place / name).exists():
                shutil.copy(place / name, there)
        if not (place / 'failure.json').exists():
            (there / 'failure.json').unlink(missing_ok=True)  # it has been begun again
    for path, run in runs.items():
        ends = {line['step'] for line in run.log[:1] + run.log[-1:]}
        kept = [
            line for line in run.log
            if line['step'] % _KEPT_EVERY == 0 or line['step'] in ends or 'chain_accuracy' in line
        ]  # fmt: skip
        text = ''.join(json.dumps(_rounded(line)) + '\n' for line in kept)
        if text:
            (target / path.relative_to(directory) / 'metrics.jsonl').write_text(text)
    return len(runs)


def _rounded(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a log in as many digits as a figure shows."""
    return {name: float(f'{value:.5g}') if name != 'step' else value for name, value in line.items()}
