"""Training that begins with constructed weights: does gradient descent keep them, and repair them?

Run with `python -m experiments.sweep --config=experiments/sweeps/from_construction.py`.

laptop (default): edit distance with n = 6 and strings of equal length; two to three hours of one core.
    noise     the constructions for standard attention and for linear attention that overwrites, with noise,
              before training and after 1,000 updates of AdamW at two rates
    random    the same models, trained from random weights with the laptop preset of `experiments/ed.py`
smoke: a minute; smaller strings, few updates, at which the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values

_TASK = 'lengths=equal,positions=learned'
_STANDARD, _LINEAR = 'mechanism=standard,num_layers=3', 'mechanism=linear,num_layers=6'
_BEFORE = 'steps=0,warmup_steps=0'


def _noise(config, noises, rates, **dims):
    models = (
        f'{_STANDARD},dim={dims["standard"]},start=standard',
        f'{_LINEAR},dim={dims["linear"]},start=linear_overwriting',
    )
    axes = {
        'training': (_BEFORE, *values('learning_rate', *rates)),
        'model': models,
        'noise': values('start_noise', *noises),
    }
    return grid(config, axes, 'chain_accuracy')


PRESETS = {
    'laptop': {
        'num_seeds': 2,
        'side_by_side': 1,
        'grids': {
            'noise': _noise(
                f'experiments/ed.py:n=6,{_TASK},optimizer=adamw,steps=1000,warmup_steps=100,batch_size=16,'
                'num_eval_examples=1024,eval_every=1000',
                (0.0, 0.001, 0.003, 0.01, 0.03),
                ('1e-5', '1e-4'),
                standard=36,
                linear=64,
            ),
            'random': grid(
                f'experiments/ed.py:n=6,{_TASK},num_eval_examples=1024',
                {
                    'mechanism': (f'{_STANDARD},dim=36', f'{_LINEAR},dim=64'),
                    'rate': values('learning_rate', 0.01),
                },
                'chain_accuracy',
            ),
        },
    },
    'smoke': {
        'num_seeds': 2,
        'side_by_side': 2,
        'grids': {
            'noise': _noise(
                f'experiments/ed.py:smoke,n=4,{_TASK},num_heads=4,dropout=0.0,optimizer=adamw,warmup_steps=0',
                (0.0, 0.01),
                ('1e-5',),
                standard=32,
                linear=60,
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('from_construction', arg, PRESETS)
