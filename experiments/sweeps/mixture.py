"""Training on all sizes up to n against training on size n alone: how many examples until 90%?

Run with `python -m experiments.sweep --config=experiments/sweeps/mixture.py`.

laptop (default): the paper's smallest arithmetic and edit distance, standard attention of width 64.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_AXES = {
    'mechanism': ('mechanism=standard',),
    'sizes in training': values('train_sizes', 'single', 'mixture'),
}

PRESETS = {
    'laptop': {
        'side_by_side': 1,
        'grids': {
            'arithmetic': grid(f'{bases.ARITHMETIC_MUON},n=6,{bases.GRADED_OFTEN}', _AXES),
            'edit_distance': grid(f'{bases.EDIT_DISTANCE_MUON},n=6,{bases.GRADED_OFTEN}', _AXES),
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
    return cells.build('mixture', arg, PRESETS)
