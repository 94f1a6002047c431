"""Figure 1 of the paper: accuracy by mechanism, problem size and width.

Run with `python -m experiments.sweep --config=experiments/sweeps/figure1.py`.

first_row: the first row of Figure 1 itself, problems of 72 to 85 tokens, with 256,000 examples (LIS 512,000)
where the paper reads 10^8. Its cells run in growing order of cost; 43 of 48 runs of edit distance and
arithmetic are done, and of LIS those of widths 32 and 64.
laptop (default): smaller problems and narrower models, for two cores. LIS (`only=lis`) takes a night.
gpu: edit distance with three times the examples of the laptop preset and a learning rate that falls with
width. Nine of its cells, sharing an H100, took five minutes.
paper: the sizes and widths of Figure 1 with the training of Feng et al. It is meant for accelerators, one
cell on each, and has not been run.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_PAPERS = values('mechanism', *bases.PAPERS)
_ARITHMETIC_WIDTHS = (32, 64, 128, 256, 512)
_WIDTHS = (*_ARITHMETIC_WIDTHS, 1024)


def _grid(config, mechanisms, sizes, widths):
    axes = {'mechanism': mechanisms, 'size': values('n', *sizes), 'width': values('dim', *widths)}
    return grid(config, axes)


_FIRST_ROW_MECHANISMS = ('mechanism=standard', 'mechanism=linear', bases.FIXED, bases.STRIDED)
# What the paper's sparse attention may be besides.
_PATTERNS = (
    *(f'{bases.FIXED},summary_size={size}' for size in (2, 4)),
    f'{bases.FIXED},heads=separate',
    f'{bases.STRIDED},heads=separate',
)
_FIRST_ROW_WIDTHS = {
    'edit_distance': (32, 64, 128),
    'arithmetic': (32, 64, 128),
    'lis': (32, 64, 128, 256),
}


def _first_row(task, mechanisms, widths=None):
    config, size = bases.FIRST_ROW[task]
    return _grid(config, mechanisms, (size,), widths or _FIRST_ROW_WIDTHS[task])


PRESETS = {
    'first_row': {
        'num_seeds': 2,
        'side_by_side': 1,
        'grids': {
            **{task: _first_row(task, _FIRST_ROW_MECHANISMS) for task in bases.FIRST_ROW},
            **{f'{task}_patterns': _first_row(task, _PATTERNS, (64,)) for task in bases.FIRST_ROW},
        },
    },
    'laptop': {
        'grids': {
            'lis': _grid(bases.LIS, bases.mechanisms('lis'), (8, 16, 24, 32), (8, 16, 32, 64)),
            'arithmetic': _grid(bases.ARITHMETIC, bases.mechanisms('arithmetic'), (2, 3, 4), (16, 32, 64)),
            'edit_distance': _grid(
                bases.EDIT_DISTANCE, bases.mechanisms('edit_distance'), (3, 4, 5), (16, 32, 64)
            ),
        },
    },
    'gpu': {
        'gpus': 0.16,
        'grids': {
            'edit_distance': grid(
                bases.EDIT_DISTANCE_GPU,
                {
                    'mechanism': _PAPERS,
                    'size': values('n', 3, 4),
                    'width': tuple(
                        f'dim={dim},learning_rate={bases.EDIT_DISTANCE_GPU_RATE / dim}'
                        for dim in (16, 32, 64, 128)
                    ),
                },
            ),
        },
    },
    'paper': {
        'num_seeds': 1,
        'side_by_side': 1,
        'cpus': 4,
        'gpus': 1.0,
        'grids': {
            'arithmetic': _grid('experiments/arith.py:paper', _PAPERS, (6, 10, 13, 16), _ARITHMETIC_WIDTHS),
            'edit_distance': _grid('experiments/ed.py:paper', _PAPERS, (6, 12, 16, 20), _WIDTHS),
            'lis': _grid('experiments/lis.py:paper', _PAPERS, (40, 110, 174, 249), _WIDTHS),
        },
    },
    'smoke': {
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {
            'arithmetic': _grid('experiments/arith.py:smoke', _PAPERS, (2,), (16,)),
            'edit_distance': _grid('experiments/ed.py:smoke', _PAPERS, (3,), (16,)),
            'lis': _grid('experiments/lis.py:smoke', _PAPERS, (4,), (16,)),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('figure1', arg, PRESETS)
