"""The longest increasing subsequence, by the longest one that ends at each number.

Run with `python -m experiments.main --config=experiments/lis.py`.

laptop (default): n = 12 numbers below 250, three layers of width 64. On two cores of an AMD EPYC (Zen 4)
it takes 5 minutes and reaches 0.965 chain accuracy on 4,096 held-out problems (seed 0; expect 0.93 or
more). With number_range=40 it reached 0.99 in 3,000 steps, a minute.
paper: n = 40 with the training of Feng et al.; the paper's other sizes are n=110 and more. It is meant
for accelerators and has not been run.
smoke: seconds; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'lis'

PRESETS = {
    'laptop': {**configs.LAPTOP, 'task.n': 24, 'task.number_range': 100, 'train.steps': 5_000},
    'quick': {**configs.QUICK, 'task.n': 12, 'task.number_range': 100, 'train.steps': 1_500},
    'paper': {**configs.PAPER, 'task.n': 40},
    'smoke': {**configs.SMOKE, 'task.n': 4},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
