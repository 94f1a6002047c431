"""Does the needed width follow how far back a step looks, or the length of the sequence?

Run with `python -m experiments.sweep --config=experiments/sweeps/locality.py`. In the edit distance of a
pattern of m letters to a stream every value is a function of the last 2m + 4 tokens, however long the stream.
Two patterns are taken at two lengths each, some 50 and some 100 tokens.

laptop (default): widths and streams that two cores can train.
smoke: a minute; learns nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_TASK = 'edit_distance_local'

VARIANTS = (
    bases.mechanism(_TASK, 'standard'),
    bases.mechanism(_TASK, 'linear'),
    *(bases.mechanism(_TASK, 'sparse', f'block_size={size}') for size in (4, 8, 16)),
    *(bases.mechanism(_TASK, 'sparse', f'pattern=strided,block_size={size}') for size in (4, 8, 16)),
    *(bases.mechanism(_TASK, 'sliding_window', f'window={size}') for size in (8, 16)),
)

SIZES = (
    'pattern_length=2,rows=8',
    'pattern_length=2,rows=16',
    'pattern_length=4,rows=5',
    'pattern_length=4,rows=10',
)

PRESETS = {
    'laptop': {
        'grids': {
            'locality': grid(
                bases.EDIT_DISTANCE_LOCAL,
                {'mechanism': VARIANTS, 'size': SIZES, 'width': values('dim', 4, 8, 12, 16, 24, 32, 48, 64)},
                search=True,
            ),
        },
    },
    'smoke': {
        'num_seeds': 1,
        'grids': {
            'locality': grid(
                'experiments/ed_local.py:smoke,num_heads=2',
                {
                    'mechanism': ('mechanism=sparse,pattern=strided,block_size=4',),
                    'size': ('pattern_length=2,rows=3', 'pattern_length=3,rows=2'),
                    'width': values('dim', 8),
                },
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('locality', arg, PRESETS)
