"""The learning rate for each mechanism, at two sizes of a problem, on seeds that no other sweep uses.

Run with `python -m experiments.sweep --config=experiments/sweeps/learning_rates.py`.

laptop (default): the rates that the other sweeps' laptop presets train with come from here; `only=lis` and so
on pick one task. It took two hours of two cores of an AMD EPYC (Zen 4).
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases


def _rates(config, mechanisms, sizes):
    rates = values('learning_rate', 0.004, 0.008, 0.016, 0.032)
    return grid(config, {'mechanism': mechanisms, 'size': sizes, 'rate': rates})


PRESETS = {
    'laptop': {
        'seed': 100,
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {
            'lis': _rates(f'{bases.LIS},dim=32', values('mechanism', *bases.PAPERS), values('n', 12, 24)),
            'edit_distance_local': _rates(
                f'{bases.EDIT_DISTANCE_LOCAL},dim=16',
                (
                    'mechanism=standard',
                    'mechanism=linear',
                    'mechanism=sparse,block_size=8',
                    'mechanism=sliding_window,window=8',
                ),
                ('pattern_length=2,rows=6', 'pattern_length=4,rows=8'),
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('learning_rates', arg, PRESETS)
