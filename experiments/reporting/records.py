"""What sweeps have left in their directories."""

import functools
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from effxf_jax.experiment import Experiment
from experiments import configs
from experiments.reporting.thresholds import Curve


class RecordError(ValueError):
    """A directory, or a file in it, is not what a sweep leaves there."""


@dataclass(frozen=True)
class Run:
    """One seed of one cell.

    Attributes:
        labels: the cell's value on each axis.
        path: its directory, that of its seed where several were trained side by side.
        seed: its own.
        state: 'done', 'failed', 'unfinished' or 'missing'.
        error: why it failed.
        experiment: what it is to do; None where it has not begun.
        result: what result.json holds, if done.
    """

    labels: tuple[str, ...]
    path: Path
    seed: int
    state: str
    error: str | None
    experiment: Experiment | None
    result: dict[str, Any] | None

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: step, loss and, where test examples were graded, accuracies."""
        path = self.path / 'metrics.jsonl'
        lines = path.read_text().splitlines() if path.exists() else []
        return [_parse(line, path) for line in lines]


@dataclass(frozen=True)
class GridRecord:
    """A grid, and how its runs stand.

    Attributes:
        sweep: the directory.
        name, axes, metric, search, target: as declared; see `experiments.sweeping.cells.grid`.
        runs: of every cell, each seed.
    """

    sweep: Path
    name: str
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
    def begun(self) -> list[Run]:
        return [run for run in self.runs if run.experiment is not None]

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.state == 'done']

    @property
    def task(self) -> str:
        """The task's name, the same in all runs."""
        return self.begun[0].experiment.record['task']['name']

    def select(self, *labels: str) -> list[Run]:
        """Its runs at these values of the first axes."""
        return [run for run in self.runs if run.labels[: len(labels)] == labels]

    def length(self, size: str) -> int | None:
        """The longest sequence at a size, in tokens; None where nothing of that size has begun."""
        lengths = {run.experiment.task.max_length for run in self.begun if run.labels[1] == size}
        return lengths.pop() if lengths else None

    def curve(self, mechanism: str, size: str) -> Curve | None:
        """Accuracy over width; a run that failed has 0. None where nothing has ended."""
        ended = [run for run in self.select(mechanism, size) if run.state in ('done', 'failed')]
        ended = [run for run in ended if run.experiment is not None]
        if not ended:
            return None
        widths = sorted({run.experiment.model.dim for run in ended})
        seeds = sorted({run.seed for run in ended})
        accuracy = np.full((len(seeds), len(widths)), np.nan)
        for run in ended:
            place = seeds.index(run.seed), widths.index(run.experiment.model.dim)
            accuracy[place] = run.result[self.metric] if run.result else 0.0
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
            runs = tuple(run for cell in declared['cells'] for run in _read_cell(directory, cell))
            rest = declared['metric'], declared['search'], declared['target']
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(f'{path} does not declare a sweep: {type(error).__name__}: {error}') from error
        yield GridRecord(directory, name, axes, *rest, runs)


def _read_cell(directory: Path, cell: dict[str, Any]) -> Iterator[Run]:
    top = directory / cell['directory']
    failure = _read_json(top / 'failure.json')
    for seed in cell['seeds']:
        path = top if len(cell['seeds']) == 1 else top / f'seed-{seed}'
        config, result = _read_json(path / 'config.json'), _read_json(path / 'result.json')
        experiment = _experiment(config, path) if config else None
        if result is not None and not isinstance(result.get('chain_accuracy'), float):
            raise RecordError(f'{path / "result.json"} is not the result of a run')
        begun = 'unfinished' if experiment else 'missing'
        state = 'done' if result else 'failed' if failure else begun
        error = failure.get('error', 'unknown') if failure and not result else None
        yield Run(tuple(cell['labels']), path, seed, state, error, experiment, result)


def _experiment(config: dict[str, Any], path: Path) -> Experiment:
    try:
        return configs.make_experiment(ConfigDict(config))
    except (configs.ConfigError, AttributeError, KeyError, TypeError) as error:
        raise RecordError(f'{path / "config.json"} is not the configuration of a run: {error}') from error


def _read_json(path: Path) -> dict[str, Any] | None:
    return _parse(path.read_text(), path) if path.exists() else None


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise RecordError(f'{path} is not JSON: {error}') from error
    if not isinstance(parsed, dict):
        raise RecordError(f'{path} must hold an object; got {text[:40]!r}')
    return parsed


def mean(runs: Iterable[Run], field: str) -> float:
    """Of a field of results, over runs that are done; nan where none is."""
    found = [run.result[field] for run in runs if run.result]
    return sum(found) / len(found) if found else math.nan


_KEPT_EVERY = 100


def export(directory: Path, target: Path) -> int:
    """Copies a sweep's small files: no checkpoints, and of logs every hundredth step and each evaluation.

    Returns:
        How many runs are copied, all those that have begun.
    """
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(directory / 'sweep.json', target)
    grids = list(_read_sweep(directory))
    paths = {run.path: run for grid in grids for run in grid.begun}
    for name in 'config.json', 'result.json', 'failure.json':
        # Of cells, and of their seeds.
        for path in [*directory.glob(f'*/{name}'), *directory.glob(f'*/seed-*/{name}')]:
            there = target / path.relative_to(directory)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)
    for path, run in paths.items():
        last = len(run.log)
        kept = [
            line for i, line in enumerate(run.log, 1)
            if i % _KEPT_EVERY == 0 or 'chain_accuracy' in line or i in (1, last)
        ]  # fmt: skip
        text = ''.join(json.dumps(_rounded(line)) + '\n' for line in kept)
        if text:
            (target / path.relative_to(directory) / 'metrics.jsonl').write_text(text)
    return len(paths)


def _rounded(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a log in as many digits as a figure shows."""
    return {name: float(f'{value:.5g}') if name != 'step' else value for name, value in line.items()}
