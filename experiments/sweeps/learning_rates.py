"""A search for each mechanism's learning rate, at two problem sizes, with seeds that no other sweep uses.

Run with `python -m experiments.sweep --config=experiments/sweeps/learning_rates.py`.

laptop (default): the other sweeps' laptop presets use the learning rates found here; `only=lis` and so on
select one task. On two cores of an AMD EPYC (Zen 4), LIS took an hour and a half, the local edit distance
half an hour, arithmetic three quarters of an hour, edit distance as long.
gpu: edit distance again, at greater widths and with another budget, for the gpu preset of figure1.py; six
cells at once took a minute on an H100.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases


def _rates(config, mechanisms, sizes, rates=(0.004, 0.008, 0.016, 0.032), metric=None):
    axes = {'mechanism': mechanisms, 'size': sizes, 'rate': values('learning_rate', *rates)}
    return grid(config, axes, metric)


_PAPERS = values('mechanism', *bases.PAPERS)

PRESETS = {
    'laptop': {
        'seed': 100,
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {
            'lis': _rates(f'{bases.LIS},dim=32', _PAPERS, values('n', 12, 24)),
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
            # By whole chains, of which fewer are right than answers, so that rates differ more.
            'arithmetic': _rates(
                f'{bases.ARITHMETIC},dim=32',
                _PAPERS,
                values('n', 2, 3),
                (0.002, 0.004, 0.008, 0.016),
                'chain_accuracy',
            ),
            'edit_distance': _rates(f'{bases.EDIT_DISTANCE},dim=32', _PAPERS, values('n', 3, 4)),
        },
    },
    'gpu': {
        'seed': 100,
        'num_seeds': 2,
        'side_by_side': 2,
        'gpus': 0.16,
        'grids': {
            'edit_distance': _rates(
                f'{bases.EDIT_DISTANCE_GPU},steps=6000',
                _PAPERS,
                ('n=3,dim=64', 'n=4,dim=128'),
                (0.002, 0.004, 0.008),
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('learning_rates', arg, PRESETS)
