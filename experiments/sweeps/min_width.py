"""The smallest width that reaches 90%, by task, mechanism, size and seed.

Run with `python -m experiments.sweep --config=experiments/sweeps/min_width.py`. It runs a bisection on a fine
ladder of widths, and the neighbours of the width found.

decade: a decade of lengths, up to the paper's smallest and beyond, with Muon; `only=lis` and so on select one
task. It has not been run.
laptop (default): sizes that two cores can train; `only=lis` and so on select one task. Linear attention on
arithmetic is the paper's first open question.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

LADDER = values('dim', 8, 12, 16, 20, 24, 32, 40, 48, 64)
DECADE_LADDER = values('dim', 8, 12, 16, 24, 32, 48, 64, 96, 128)


def _search(config, mechanisms, sizes, ladder=LADDER):
    axes = {'mechanism': mechanisms, 'size': values('n', *sizes), 'width': ladder}
    return grid(config, axes, search=True)


def _decade(config, sizes):
    return _search(config, values('mechanism', *bases.PAPERS), sizes, DECADE_LADDER)


PRESETS = {
    'decade': {
        'grids': {
            'lis': _decade(bases.LIS_MUON, (8, 12, 16, 24, 32, 40)),
            'edit_distance': _decade(bases.EDIT_DISTANCE_MUON, (3, 4, 5, 6, 7, 8)),
            'arithmetic': _decade(bases.ARITHMETIC_MUON, (2, 3, 4, 5, 6, 7, 8)),
        },
    },
    'laptop': {
        'grids': {
            'lis': _search(bases.LIS, bases.mechanisms('lis'), (6, 8, 10, 12, 16)),
            'arithmetic': _search(bases.ARITHMETIC, bases.mechanisms('arithmetic'), (2, 3, 4)),
            'edit_distance': _search(bases.EDIT_DISTANCE, bases.mechanisms('edit_distance'), (3, 4, 5)),
        },
    },
    'smoke': {
        'num_seeds': 1,
        'grids': {
            'lis': grid(
                'experiments/lis.py:smoke',
                {'mechanism': ('mechanism=linear',), 'size': ('n=4',), 'width': values('dim', 8, 12, 16)},
                search=True,
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('min_width', arg, PRESETS)
