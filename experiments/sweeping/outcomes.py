"""The runs of a sweep, each one seed of one cell, and their states, read from the sweep's directory."""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effxf_jax.runs.directory import parse_object, read_log
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.record import ExperimentError
from experiments.sweeping import widths
from experiments.sweeping.cells import METRICS

NOT_BEGUN = 'missing', 'not needed'


class RecordError(ValueError):
    """A directory or a file does not have the contents that a sweep writes."""


@dataclass(frozen=True)
class Run:
    """One seed of one cell.

    Attributes:
        labels: the cell's value on each axis.
        cell: the name of the cell's directory.
        seed: the run's seed.
        path: the run's directory, which is the cell's or, if several seeds are trained side by side, one in
            it; None if the run was read from a file of results.
        state: 'done', 'failed', 'unfinished', 'missing' or, if a search does not require the cell (yet),
            'not needed'.
        error: why the run failed.
        diverged: whether it failed because training diverged.
        experiment: the run's configuration; None if it has not begun.
        result: the contents of result.json, if done.
        kept_log: the lines of the log that a file of results has.
    """

    labels: tuple[str, ...]
    cell: str
    seed: int
    path: Path | None
    state: str
    error: str | None
    diverged: bool
    experiment: Experiment | None
    result: dict[str, Any] | None
    kept_log: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The name of the run or, if it has not begun, of its cell."""
        return self.experiment.name if self.experiment else self.cell

    @property
    def top(self) -> Path | None:
        """The directory of the cell."""
        return self.path and (self.path if self.path.name == self.cell else self.path.parent)

    @property
    def is_settled(self) -> bool:
        """Whether the run is done or has diverged, and so would end the same way again."""
        return self.state == 'done' or self.diverged

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: step, loss and, where test examples were graded, accuracies.

        Lines that cannot be read are left out; see `read_log`.
        """
        if self.path is None:
            return list(self.kept_log)
        return [parsed for parsed, _ in read_log(self.path / 'metrics.jsonl')]


@dataclass(frozen=True)
class GridRuns:
    """A grid with its runs.

    Attributes:
        sweep: the sweep's name.
        name, axes, metric, search, target: as declared; see `experiments.sweeping.cells.grid`.
        task: the name of the task of all runs.
        runs: one for each seed of each cell.
    """

    sweep: str
    name: str
    task: str
    axes: dict[str, tuple[str, ...]]
    metric: str
    search: bool
    target: float
    runs: tuple[Run, ...]

    def select(self, *labels: str) -> list[Run]:
        """The runs with these values on the first axes."""
        return [run for run in self.runs if run.labels[: len(labels)] == labels]

    def accuracy(self, run: Run) -> float:
        """The accuracy by `metric`: 0 if the run diverged; nan if it has not ended, or failed otherwise."""
        if run.result:
            return run.result[self.metric]
        return 0.0 if run.diverged else math.nan


def checked(grid: GridRuns, where: str) -> GridRuns:
    """Checks a grid, and sets the state of runs that have not begun: missing or not needed.

    Raises:
        RecordError: reports cannot use the grid.
    """
    if grid.metric not in METRICS:
        raise RecordError(f'{where}: metric must be one of {", ".join(METRICS)}; got {grid.metric!r}')
    if type(grid.search) is not bool:
        raise RecordError(f'{where}: search must be true or false; got {grid.search!r}')
    if type(grid.target) not in (int, float) or not 0 < grid.target <= 1:
        raise RecordError(f'{where}: target must be above 0 and at most 1; got {grid.target!r}')
    if len(grid.axes) < 2:
        raise RecordError(f'{where}: there must be two axes or more; got {list(grid.axes)}')
    seeds: dict[tuple[str, ...], set[int]] = {}
    for run in grid.runs:
        seeds.setdefault(run.labels, set()).add(run.seed)
    if seeds.keys() != set(itertools.product(*grid.axes.values())):
        raise RecordError(f'{where}: there must be a cell for every choice of one value from each axis')
    if not grid.search:
        asked = set(seeds)
    elif len(set(map(frozenset, seeds.values()))) > 1:
        raise RecordError(f'{where}: every cell of a search must have the same seeds')
    else:
        reached: dict[tuple[str, ...], list[float]] = {labels: [] for labels in seeds}
        for run in grid.runs:
            reached[run.labels].append(grid.accuracy(run))
        asked = set(widths.wanted(grid.axes, reached.__getitem__, grid.target))
    lacking = lambda run: 'missing' if run.labels in asked else 'not needed'
    runs = (replace(run, state=lacking(run)) if run.state in NOT_BEGUN else run for run in grid.runs)
    return replace(grid, runs=tuple(runs))


_POSITIVE = 'forward_flops', 'num_params', 'state_size', 'train_steps'


def check_result(result: Mapping[str, Any], where: str) -> None:
    """Checks the fields of a result that reports read.

    Raises:
        RecordError: fields are missing or invalid; the message names all of them.
    """
    if lacking := [name for name in (*METRICS, *_POSITIVE) if name not in result]:
        raise RecordError(f'{where} is not the result of a run: no {", ".join(lacking)}')
    number = lambda value: type(value) in (int, float)
    valid = {name: number(result[name]) and 0 <= result[name] <= 1 for name in METRICS}
    valid |= {name: number(result[name]) and 0 <= result[name] < 2.0**63 for name in _POSITIVE}
    errors = result.get('first_errors', [])
    valid['first_errors'] = type(errors) is list and all(type(n) is int and 0 <= n < 2**63 for n in errors)
    valid['devices'] = type(result.get('devices', '')) is str
    if wrong := [f'{name} {result[name]!r}' for name, is_valid in valid.items() if not is_valid]:
        raise RecordError(f'{where} is not the result of a run: it has {", ".join(wrong)}')


def read_directory(directory: Path) -> list[GridRuns]:
    """Reads the grids that a sweep's directory declares.

    Raises:
        RecordError: a file does not have the contents that a sweep writes; the message names it.
        OSError: a file cannot be read.
    """
    path = directory / 'sweep.json'
    if not path.exists():
        raise RecordError(f'{directory} is not the directory of a sweep: it has no sweep.json')
    grids = []
    for name, declared in _parse(path.read_text(encoding='utf-8'), path).items():
        try:
            axes = {axis: tuple(values) for axis, values in declared['axes'].items()}
            runs = [
                run
                for cell in declared['cells']
                for run in _read_cell(directory / cell['directory'], tuple(cell['labels']), cell['seeds'])
            ]
            fields = {field: declared[field] for field in ('task', 'metric', 'search', 'target')}
            sweep = directory.resolve().name
            grid = GridRuns(sweep, name, axes=axes, runs=tuple(runs), **fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(f'{path} does not declare a sweep: {type(error).__name__}: {error}') from error
        grids.append(checked(grid, f'{path}, {name}'))
    return grids


def read_cells(directory: Path) -> Iterator[Run]:
    """Yields the runs of all cells in a directory, whatever their names; see `read_cell`."""
    for path in cell_directories(directory):
        yield from read_cell(path)


def cell_directories(directory: Path) -> list[Path]:
    """The directories of all cells in a sweep's directory; unfinished copies are left out."""
    found = sorted(path.parent for path in directory.glob('*/config.json'))
    return [path for path in found if not path.name.startswith('.')]


def read_cell(top: Path) -> list[Run]:
    """Reads the runs of a cell from its directory; the configuration in it says which seeds they have.

    Raises:
        RecordError, OSError: see `read_directory`.
    """
    path = top / 'config.json'
    experiment = _experiment(_parse(path.read_text(encoding='utf-8'), path), path)
    return list(_read_cell(top, (), [alone.seed for alone in experiment.replicates()]))


def _read_cell(top: Path, labels: tuple[str, ...], seeds: Sequence[int]) -> Iterator[Run]:
    failure = _read_json(top / 'failure.json')
    for seed in seeds:
        path = top if len(seeds) == 1 else top / f'seed-{seed}'
        config, result = _read_json(path / 'config.json'), _read_json(path / 'result.json')
        experiment = _experiment(config, path / 'config.json') if config else None
        if result is not None:
            check_result(result, str(path / 'result.json'))
            if experiment is None:
                raise RecordError(f'{path} has the result of a run, but no config.json')
        begun = 'unfinished' if experiment else 'missing'
        state = 'done' if result else 'failed' if failure else begun
        failed = failure if failure and not result else {}
        error, diverged = (failed.get('error', 'unknown') if failed else None), failed.get('diverged', False)
        yield Run(labels, top.name, seed, path, state, error, diverged, experiment, result)


def _experiment(config: dict[str, Any], path: Path) -> Experiment:
    try:
        return Experiment.from_record(config)
    except (ExperimentError, AttributeError, TypeError) as error:
        raise RecordError(f'{path} is not the configuration of a run: {error}') from error


def _read_json(path: Path) -> dict[str, Any] | None:
    return _parse(path.read_text(encoding='utf-8'), path) if path.exists() else None


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return parse_object(text)
    except ValueError as error:
        raise RecordError(f'{path} {error}') from error
