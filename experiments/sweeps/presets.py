"""Do the presets of the config files learn their tasks with every seed?

Run with `python -m experiments.sweep --config=experiments/sweeps/presets.py`.

laptop (default): the presets laptop and quick of all tasks, five seeds each.
smoke: a minute; the models learn nothing.
"""

import itertools

from ml_collections import ConfigDict

from effxf_jax import tasks
from experiments import configs
from experiments.sweeping import cells
from experiments.sweeping.cells import grid

_CONFIGS = ('arith', 'ed', 'ed_local', 'equations', 'lis')


def _grid(reference):
    task = configs.load(reference).task
    option = tasks.TASKS[task.name].size_option
    return grid(reference, {'mechanism': ('mechanism=standard',), 'size': (f'{option}={task[option]}',)})


def _grids(*presets):
    pairs = itertools.product(_CONFIGS, presets)
    return {f'{name}_{preset}': _grid(f'experiments/{name}.py:{preset}') for name, preset in pairs}


PRESETS = {
    'laptop': {'num_seeds': 5, 'side_by_side': 1, 'grids': _grids('laptop', 'quick')},
    'smoke': {'num_seeds': 1, 'side_by_side': 1, 'grids': _grids('smoke')},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('presets', arg, PRESETS)
