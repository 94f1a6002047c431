"""The parts of a sweep: grids of cells, each of which is one run directory.

A sweep's config file defines `get_config(arg)` with presets, as a run's does. Its fields:

    name               name of its directory, in sweeps/
    seed, num_seeds    every point of every grid is run with seeds seed ... seed + num_seeds - 1
    side_by_side       number of seeds in one cell, trained as one program; if num_seeds grows by a multiple
                       of it, finished cells stay valid
    cpus, gpus         resources that Ray gives a cell
    retries            how often a cell is run again after its worker died
    only               names of the grids (or their tasks) to run, joined by +; all grids if empty
    grids              grids by name; see `grid`
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from effxf_jax import registry, tasks
from effxf_jax.runs.experiment import Experiment
from effxf_jax.theory import complexity
from experiments import configs

DEFAULTS = {'only': '', 'seed': 0, 'num_seeds': 3, 'side_by_side': 3, 'cpus': 1, 'gpus': 0.0, 'retries': 3}

METRICS = ('answer_accuracy', 'chain_accuracy', 'teacher_forced_accuracy')


def grid(
    config: str,
    axes: Mapping[str, Sequence[str]],
    metric: str | None = None,
    search: bool = False,
    target: float = 0.9,
) -> dict[str, Any]:
    """A grid: every choice of one value from each axis.

    Args:
        config: the runs' configuration, as in --config: `experiments/lis.py:laptop,number_range=80`.
        axes: values by axis; a value is one or more overrides, `n=8` or `mechanism=sparse,block_size=8`.
            Reports know the names `mechanism`, `size` and `width`, in this order.
        metric: the accuracy that searches and reports use; by default that of the task.
        search: whether to run only those values of the last axis, in growing order, that are needed to find
            the smallest one that reaches the target.
        target: the accuracy that a search must reach.
    """
    # Pairs, since the order of axes matters and a ConfigDict would sort the names.
    axes = tuple((name, tuple(values)) for name, values in axes.items())
    return {'config': config, 'axes': axes, 'metric': metric, 'search': search, 'target': target}


def values(field: str, *choices: Any) -> tuple[str, ...]:
    """The values of an axis over one field."""
    return tuple(f'{field}={choice}' for choice in choices)


def short(label: str) -> str:
    """An axis's value in short form: `standard` for `mechanism=standard,learning_rate=0.004`."""
    first, _, rest = label.partition(',')
    field, _, value = first.partition('=')
    others = [part for part in rest.split(',') if part and part.partition('=')[0] != 'learning_rate']
    return ' '.join([value if field == 'mechanism' else first, *others])


def build(name: str, arg: str | None, presets: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Builds the configuration of a sweep that a string argument describes.

    Args:
        name: the sweep's name; the preset's name is appended to it.
        arg: a preset's name and overrides, separated by commas; both may be missing.
        presets: for each preset, its grids and the fields that differ from `DEFAULTS`.

    Raises:
        ConfigError: parts of arg are invalid; the message names all of them.
    """
    preset, overrides, problems = configs.parse_arg(arg, presets)
    config = ConfigDict({'name': f'{name}-{preset}', **DEFAULTS, **presets[preset]})
    problems += configs.apply(config, overrides)
    if problems:
        raise configs.ConfigError(problems, config)
    return config


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run directory: a point of a grid, with one seed or several side by side.

    Attributes:
        grid: the grid's name.
        labels: the cell's value on each axis.
        config_file: the reference of the grid's config file. Workers load it for what it adds to the library.
        experiment: what the cell runs.
    """

    grid: str
    labels: tuple[str, ...]
    config_file: str
    experiment: Experiment

    @property
    def name(self) -> str:
        """The name of the cell's directory."""
        return self.experiment.name

    @functools.cached_property
    def train_flops(self) -> float:
        """FLOPs of training with batches of the greatest length; a backward pass counts as two forward."""
        train = self.experiment.train
        forward = complexity.forward_cost(self.experiment.model).flops
        return 3.0 * forward * train.batch_size * train.steps * train.num_replicates

    @property
    def relative_time(self) -> float:
        """An estimate of the training time, relative to other cells: the geometric mean of tokens and FLOPs.

        The time of small models grows with tokens, the time of large ones with FLOPs.
        """
        train = self.experiment.train
        tokens = train.batch_size * train.steps * train.num_replicates * self.experiment.model.max_length
        return math.sqrt(self.train_flops * tokens)


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid, with its cells.

    Attributes:
        name: the grid's name in the sweep.
        axes: values by axis.
        metric, search, target: see `grid`.
        cells: cells by labels; a point has several cells if it has more seeds than are trained side by side.
    """

    name: str
    axes: dict[str, tuple[str, ...]]
    metric: str
    search: bool
    target: float
    cells: dict[tuple[str, ...], list[Cell]]

    @property
    def task(self) -> str:
        """The name of the runs' task."""
        (cell, *_), *_ = self.cells.values()
        return tasks.name_of(cell.experiment.task)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A validated sweep.

    Attributes:
        cpus, gpus, retries: see the module docstring.
        grids: grids in the order in which they are run.
    """

    cpus: int
    gpus: float
    retries: int
    grids: tuple[Grid, ...]

    def declaration(self) -> dict[str, dict[str, Any]]:
        """The grids as plain values by name: the content of sweep.json, for readers of the directory."""
        return {
            grid.name: {
                'task': grid.task,
                'axes': grid.axes,
                'metric': grid.metric,
                'search': grid.search,
                'target': grid.target,
                'cells': [
                    {
                        'labels': cell.labels,
                        'directory': cell.name,
                        'seeds': [alone.seed for alone in cell.experiment.replicates()],
                    }
                    for cells in grid.cells.values()
                    for cell in cells
                ],
            }
            for grid in self.grids
        }

    def cells(self) -> Iterator[Cell]:
        """Yields every cell once, even if two grids share it."""
        seen = set()
        for cell in itertools.chain.from_iterable(c for g in self.grids for c in g.cells.values()):
            if cell.name not in seen:
                seen.add(cell.name)
                yield cell


def make_sweep(config: ConfigDict) -> Sweep:
    """Creates the sweep of a configuration.

    Raises:
        ConfigError: the configuration or a cell is invalid; the message names every problem.
    """
    if 'grids' not in config:
        raise configs.ConfigError(
            ['this is the configuration of a run, for python -m experiments.main; a sweep has grids'], config
        )
    problems = [
        f'{name} must be at least {least}; got {config[name]}'
        for name, least in (
            ('num_seeds', 1), ('side_by_side', 1), ('cpus', 1), ('gpus', 0), ('retries', 0), ('seed', 0)
        )
        if config[name] < least
    ]  # fmt: skip
    if config.gpus > 1 and config.gpus % 1:
        problems.append(f'gpus above 1 must be whole; got {config.gpus}')
    if problems:
        raise configs.ConfigError(problems, config)
    grids = []
    names = config.only.split('+') if config.only else list(config.grids)
    # A grid of one task has the task's name, so that the task's short name is accepted too.
    names = [name if name in config.grids else tasks.aliases().get(name, name) for name in names]
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in config.grids]
    problems += [
        f'only: there is no grid {name!r}; {registry.suggestion(name, config.grids)}' for name in unknown
    ]
    for name in (name for name in names if name not in unknown):
        declared = config.grids[name]
        try:
            grids.append(_make_grid(name, declared, config))
        except configs.ConfigError as error:
            problems += [f'grid {name}: {problem}' for problem in error.problems]
    problems += [
        f'a name of a grid, a part of file names, must be of letters, digits, -, _ and +; got {name!r}'
        for name in config.grids
        if not re.fullmatch(r'[\w+-]+', name)
    ]
    if not config.grids:
        problems.append('grids must name at least one grid')
    if problems:
        raise configs.ConfigError(problems, config)
    return Sweep(config.cpus, float(config.gpus), config.retries, tuple(grids))


# The fields that a sweep sets in its runs, by bare and dotted name.
_OWN = ('seed', 'num_replicates', 'train.num_replicates')


def _make_grid(name: str, declared: ConfigDict, sweep: ConfigDict) -> Grid:
    problems = [
        f'axis {axis} has no values' if not given else f'axis {axis} names a value twice'
        for axis, given in declared.axes
        if len(set(given)) < max(1, len(given))
    ]
    if len(declared.axes) < 2:
        problems.append(
            f'there must be two axes or more, the first for what is compared; got {len(declared.axes)}'
        )
    if declared.metric not in (None, *METRICS):
        problems.append(f'metric must be one of {", ".join(METRICS)}; got {declared.metric!r}')
    if not 0 < declared.target <= 1:
        problems.append(f'target must be above 0 and at most 1; got {declared.target}')
    base = configs.load(declared.config)
    if (base.seed, base.train.num_replicates) != (0, 1):
        problems.append('seed and num_replicates of its config are set by the sweep')
    axes = dict(declared.axes)
    cells = {}
    devices = sweep.cpus if not sweep.gpus else max(1, int(sweep.gpus))
    for labels in itertools.product(*axes.values()):
        cells[labels] = []
        overrides, stray = configs.parse_overrides(','.join(labels))
        problems += [f'{name} is set by the sweep' for name in overrides if name in _OWN]
        problems += [f'{word!r} is not of the form field=value' for word in stray]
        end = sweep.seed + sweep.num_seeds
        for seed in range(sweep.seed, end, sweep.side_by_side):
            config = base.copy_and_resolve_references()
            wrong = configs.apply(config, overrides)
            config.seed = seed
            config.train.num_replicates = min(sweep.side_by_side, end - seed)
            if not wrong:
                try:
                    experiment = configs.make_experiment(config, devices)
                    cells[labels].append(Cell(name, labels, declared.config, experiment))
                except configs.ConfigError as error:
                    wrong = error.problems
            problems += [f'{", ".join(labels)}: {problem}' for problem in wrong]
    first_labels = {}
    for labels, of_point in cells.items():
        same = {first_labels.setdefault(cell.name, labels) for cell in of_point} - {labels}
        problems += [f'{", ".join(other)} and {", ".join(labels)} describe the same run' for other in same]
    if problems:
        raise configs.ConfigError(list(dict.fromkeys(problems)))
    (cell, *_), *_ = cells.values()
    metric = declared.metric or cell.experiment.task.metric
    return Grid(name, axes, metric, declared.search, declared.target, cells)
