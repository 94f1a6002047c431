"""Arithmetic modulo 11 as a chain of thought.

Run with `python -m experiments.main --config=experiments/arith.py`.

laptop (default): n = 6, the smallest of the paper, three layers of width 64. On two cores of an AMD EPYC it
takes 4 minutes; answer accuracy on 4,096 held-out problems is 0.974, 0.983, 0.977, 0.978 and 0.981 with seeds
0 to 4. Expect 0.95 or more.
quick: n = 2, half a minute of one core; 0.946 to 1.000 on 1,024 held-out problems with seeds 0 to 4. Expect
0.9 or more.
paper: n = 6 with the training of Feng et al.; n=10, 13 and 16 are the paper's other sizes. It is meant for
accelerators and has not been run to its end.
smoke: seconds; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'arithmetic'

PRESETS = {
    'laptop': {**configs.LAPTOP, 'task.n': 6, 'train.steps': 4_500},
    'quick': {**configs.QUICK, 'task.n': 2, 'train.steps': 1_500},
    'paper': {**configs.PAPER, 'task.n': 6, 'data.train_sizes': 'mixture'},
    'smoke': {**configs.SMOKE, 'task.n': 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
