"""Figure 1 of the paper: accuracy by mechanism, problem size and width.

Run with `python -m experiments.sweep --config=experiments/sweeps/figure1.py`.

laptop (default): smaller problems and narrower models, which two cores can train in a night.
paper: the sizes and widths of Figure 1 with the training of Feng et al. It is meant for accelerators, a cell
on each, and has not been run.
smoke: a minute; learns nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

MECHANISMS = values('mechanism', 'standard', 'linear', 'sparse')


def _grid(config, sizes, widths, mechanisms=MECHANISMS, metric='chain_accuracy'):
    axes = {'mechanism': mechanisms, 'size': values('n', *sizes), 'width': values('dim', *widths)}
    return grid(config, axes, metric)


def _arithmetic(preset, sizes, widths):
    return _grid(f'experiments/arith.py:{preset}', sizes, widths, metric='answer_accuracy')


PRESETS = {
    'laptop': {
        'grids': {
            'lis': _grid(
                bases.LIS,
                (8, 16, 24, 32),
                (8, 16, 32, 64),
            ),
        },
    },
    'paper': {
        'num_seeds': 1,
        'side_by_side': 1,
        'cpus': 4,
        'gpus': 1.0,
        'grids': {
            'arithmetic': _arithmetic('paper', (6, 10, 13, 16), (32, 64, 128, 256, 512)),
            'edit_distance': _grid('experiments/ed.py:paper', (6, 12, 16, 20), (32, 64, 128, 256, 512, 1024)),
            'lis': _grid('experiments/lis.py:paper', (40, 110, 174, 249), (32, 64, 128, 256, 512, 1024)),
        },
    },
    'smoke': {
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {
            'arithmetic': _arithmetic('smoke', (2,), (16,)),
            'edit_distance': _grid('experiments/ed.py:smoke', (3,), (16,)),
            'lis': _grid('experiments/lis.py:smoke', (4,), (16,)),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('figure1', arg, PRESETS)
