"""Do the presets of the config files learn their tasks with every seed?

Run with `python -m experiments.sweep --config=experiments/sweeps/presets.py`.

laptop (default): the presets laptop and quick of all tasks, five seeds each.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid

# The size of each task, as its config file sets it, by preset.
_SIZES = {
    'arith': {'laptop': 'n=6', 'quick': 'n=2'},
    'ed': {'laptop': 'n=6', 'quick': 'n=3'},
    'ed_local': {'laptop': 'rows=6', 'quick': 'rows=6'},
    'equations': {'laptop': 'n=3', 'quick': 'n=3'},
    'lis': {'laptop': 'n=24', 'quick': 'n=12'},
}


def _grids(*presets):
    return {
        f'{name}_{preset}': grid(
            f'experiments/{name}.py:{preset}',
            {'mechanism': ('mechanism=standard',), 'size': (sizes.get(preset, sizes['quick']),)},
        )
        for name, sizes in _SIZES.items()
        for preset in presets
    }


PRESETS = {
    'laptop': {'num_seeds': 5, 'side_by_side': 1, 'grids': _grids('laptop', 'quick')},
    'smoke': {'num_seeds': 1, 'side_by_side': 1, 'grids': _grids('smoke')},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('presets', arg, PRESETS)
