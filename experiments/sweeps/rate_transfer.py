"""Does one learning rate serve all widths? Muon at two widths, under several parametrisations.

Run with `python -m experiments.sweep --config=experiments/sweeps/rate_transfer.py`.

laptop (default): two tasks whose training is cut short, so that the loss shows how fast a rate learns.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values

_GRADED = 'num_eval_examples=512,num_progress_examples=64,checkpoint_every=1000,checkpoints_kept=1'
_RATES = (0.0025, 0.005, 0.01, 0.02, 0.04)
_PARAMETRISATIONS = (
    'scale=spectral,transfer=flat',
    'scale=spectral,transfer=head',
    'scale=rms,transfer=adam',
)
_CONFIGS = {
    'edit_distance': f'experiments/ed.py:laptop,n=3,steps=3000,batch_size=32,{_GRADED}',
    'lis': f'experiments/lis.py:laptop,n=12,number_range=80,steps=1000,batch_size=32,{_GRADED}',
}


def _grid(config, mechanisms, parametrisations, widths=(32, 128), rates=_RATES):
    axes = {
        'width': values('dim', *widths),
        'mechanism': values('mechanism', *mechanisms),
        'parametrisation': parametrisations,
        'rate': values('learning_rate', *rates),
    }
    return grid(config, axes)


# Standard attention under every parametrisation, the other mechanisms under the one that it favours.
PRESETS = {
    'laptop': {
        'seed': 100,
        'num_seeds': 1,
        'side_by_side': 1,
        'grids': {
            **{
                f'{task}-standard': _grid(c, ('standard',), _PARAMETRISATIONS) for task, c in _CONFIGS.items()
            },
            **{
                f'{task}-efficient': _grid(c, ('linear', 'sparse'), (_PARAMETRISATIONS[1],))
                for task, c in _CONFIGS.items()
            },
        },
    },
    'smoke': {
        'num_seeds': 1,
        'side_by_side': 1,
        'grids': {
            'lis': _grid(
                'experiments/lis.py:smoke,optimizer=muon',
                ('standard',),
                _PARAMETRISATIONS[:2],
                (8, 16),
                (0.005, 0.01),
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('rate_transfer', arg, PRESETS)
