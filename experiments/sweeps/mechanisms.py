"""Mechanisms of today, with and without a convolution, at widths at which the paper's differ.

Run with `python -m experiments.sweep --config=experiments/sweeps/mechanisms.py`.

laptop (default): the problems and the training of figure1.py:first_row, whose finished runs are taken with
--reuse=results/figure1-first_row.jsonl; `only=edit_distance` and so on select one task. Neither the new
mechanisms nor the convolution have been run.
smoke: three minutes; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_PLAIN = (
    'mechanism=standard',
    'mechanism=linear',
    bases.FIXED,
    bases.STRIDED,
    'mechanism=gated_linear',
    'mechanism=delta,gate=off',
    'mechanism=delta',
    'mechanism=block_routing',
    'mechanism=lsh',
)
_ALL = tuple(f'{mechanism}{convolution}' for convolution in ('', ',conv_size=4') for mechanism in _PLAIN)


def _compare(config, size, width):
    return grid(config, {'mechanism': _ALL, 'size': values('n', size), 'width': values('dim', width)})


PRESETS = {
    'laptop': {
        'num_seeds': 2,
        'side_by_side': 1,
        'grids': {
            task: _compare(*bases.FIRST_ROW[task], width)
            for task, width in (('edit_distance', 64), ('arithmetic', 32), ('lis', 64))
        },
    },
    'smoke': {
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {'edit_distance': _compare('experiments/ed.py:smoke', 3, 16)},
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('mechanisms', arg, PRESETS)
