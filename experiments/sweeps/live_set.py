"""Does the needed width follow the quantities alive, or the number of steps and tokens?

Run with `python -m experiments.sweep --config=experiments/sweeps/live_set.py`. Word problems whose sentences
come between the steps; in laptop every mechanism has a convolution of four tokens, without which a model of
this size spends most of its training on binding a value to a name.

laptop (default), by the smallest width that reaches 90% of chains, and at one width:
    alive         1, 2 and 4 quantities alive at four steps (some 150 tokens)
    steps         4 and 8 steps (some 150 and 280 tokens) at two quantities alive
    fixed_width   the accuracy at width 32 by the quantities alive, at four steps
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_LADDER = values('dim', 8, 16, 24, 32, 48, 64)
_MECHANISMS = (
    'mechanism=standard',
    'mechanism=linear',
    'mechanism=delta',
    'mechanism=sparse,pattern=fixed,block_size=16',
    'mechanism=sliding_window,window=64',
)


def _search(sizes):
    return grid(
        bases.WORD_PROBLEMS,
        {'mechanism': _MECHANISMS, 'size': sizes, 'width': _LADDER},
        search=True,
    )


PRESETS = {
    'laptop': {
        'grids': {
            'alive': _search(tuple(f'num_steps=4,alive={alive}' for alive in (1, 2, 4))),
            'steps': _search(tuple(f'num_steps={steps},alive=2' for steps in (4, 8))),
            'fixed_width': grid(
                f'{bases.WORD_PROBLEMS},num_steps=4,dim=32',
                {'mechanism': _MECHANISMS, 'alive': values('alive', 1, 2, 3, 4)},
            ),
        },
    },
    'smoke': {
        'num_seeds': 1,
        'side_by_side': 1,
        'grids': {
            'alive': grid(
                'experiments/word_problems.py:smoke,told=between',
                {
                    'mechanism': _MECHANISMS[:2],
                    'size': ('num_steps=2,alive=1', 'num_steps=2,alive=2'),
                    'width': values('dim', 8, 16),
                },
                search=True,
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('live_set', arg, PRESETS)
