"""Does the needed width depend on how far back a step looks, or on the length of the sequence?

Run with `python -m experiments.sweep --config=experiments/sweeps/locality.py`. In the edit distance of a
pattern of m letters to a stream every value is a function of the last 2m + 4 tokens, however long the stream.
Two pattern lengths are run at two sequence lengths each, some 40 and some 80 tokens.

laptop (default): widths and streams that two cores can train.
    locality      every mechanism, with blocks and windows of 8 (`only=locality`); it took two hours on two
                  cores of an AMD EPYC (Zen 4)
    block_sizes   block sizes of fixed and strided sparse attention, and windows, at the greater length; it
                  took as long
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases

_SHORT = 'pattern_length=2,rows=6', 'pattern_length=3,rows=4'
_LONG = 'pattern_length=2,rows=12', 'pattern_length=3,rows=9'


def _search(variants, sizes):
    axes = {
        'mechanism': tuple(bases.mechanism('edit_distance_local', *variant) for variant in variants),
        'size': sizes,
        'width': values('dim', 4, 8, 12, 16, 24, 32, 48),
    }
    return grid(bases.EDIT_DISTANCE_LOCAL, axes, search=True)


PRESETS = {
    'laptop': {
        'grids': {
            'locality': _search(
                (
                    ('standard',),
                    ('linear',),
                    ('sparse', 'block_size=8'),
                    ('sparse', 'pattern=strided,block_size=8'),
                    ('sliding_window', 'window=8'),
                ),
                # A reader compares the two sequence lengths of one pattern.
                sizes=(_SHORT[0], _LONG[0], _SHORT[1], _LONG[1]),
            ),
            'block_sizes': _search(
                (
                    *(('sparse', f'block_size={size}') for size in (4, 8, 16)),
                    *(('sparse', f'pattern=strided,block_size={size}') for size in (4, 8, 16)),
                    *(('sliding_window', f'window={size}') for size in (4, 8, 16)),
                ),
                sizes=_LONG,
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
