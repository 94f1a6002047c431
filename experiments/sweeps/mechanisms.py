"""Recurrent mechanisms of today, with and without a convolution, at widths at which the paper's differ.

Run with `python -m experiments.sweep --config=experiments/sweeps/mechanisms.py`.

laptop (default): the problems and the training of figure1.py:first_row, whose finished runs are taken with
--reuse=results/figure1-first_row.jsonl. A cell takes 8 to 15 minutes of one core; `only=edit_distance` and so
on select one task.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_PLAIN = (
    'mechanism=standard',
    'mechanism=linear',
    'mechanism=sparse,pattern=fixed,block_size=8',
    'mechanism=sparse,pattern=strided,block_size=8',
    'mechanism=gated_linear',
    'mechanism=delta,gate=off',
    'mechanism=delta',
)
_ALL = tuple(f'{mechanism}{convolution}' for convolution in ('', ',conv_size=4') for mechanism in _PLAIN)


def _compare(config, mechanisms, size, width):
    return grid(config, {'mechanism': mechanisms, 'size': values('n', size), 'width': values('dim', width)})


PRESETS = {
    'laptop': {
        'num_seeds': 2,
        'side_by_side': 1,
        'grids': {
            'edit_distance': _compare(bases.EDIT_DISTANCE_MUON, _ALL, 6, 64),
            'arithmetic': _compare(bases.ARITHMETIC_MUON, _ALL, 6, 32),
            'lis': _compare(f'{bases.LIS_MUON},number_range=250,steps=8000', _ALL, 40, 64),
        },
    },
    'smoke': {
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {'edit_distance': _compare('experiments/ed.py:smoke', _ALL, 3, 16)},
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('mechanisms', arg, PRESETS)
