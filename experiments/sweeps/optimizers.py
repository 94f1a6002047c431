"""How many examples do Muon and AdamW read until 90%? Standard attention of width 64, several rates each.

Run with `python -m experiments.sweep --config=experiments/sweeps/optimizers.py`.

laptop (default): arithmetic and edit distance at the paper's smallest sizes, LIS of 24 numbers, all with the
steps of the laptop configs.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_AXES = {
    'optimizer': values('optimizer', 'muon', 'adamw'),
    'rate': values('learning_rate', 0.002, 0.005, 0.01, 0.02),
}

PRESETS = {
    'laptop': {
        'side_by_side': 1,
        'grids': {
            task: grid(f'experiments/{config}.py:laptop,{bases.GRADED_OFTEN}', _AXES)
            for task, config in (('arithmetic', 'arith'), ('edit_distance', 'ed'), ('lis', 'lis'))
        },
    },
    'smoke': {
        'num_seeds': 1,
        'side_by_side': 1,
        'grids': {'edit_distance': grid('experiments/ed.py:smoke', _AXES)},
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('optimizers', arg, PRESETS)
