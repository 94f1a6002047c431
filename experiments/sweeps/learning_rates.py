"""The learning rate for each mechanism, at two sizes of a problem, on seeds that no other sweep uses.

Run with `python -m experiments.sweep --config=experiments/sweeps/learning_rates.py`.

laptop (default): the rates that the other sweeps' laptop presets train with come from here.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

PRESETS = {
    'laptop': {
        'seed': 100,
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {
            'lis': grid(
                f'{bases.LIS},dim=32',
                {
                    'mechanism': values('mechanism', *bases.PAPERS),
                    'size': values('n', 12, 24),
                    'rate': values('learning_rate', 0.004, 0.008, 0.016, 0.032),
                },
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('learning_rates', arg, PRESETS)
