"""The longest increasing subsequence, by the longest one that ends at each number.

Run with `python -m experiments.main --config=experiments/lis.py`.

laptop (default): n = 24 numbers below 100, three layers of width 64, some 6 minutes of one core. Chain
accuracy on 4,096 held-out problems is 0.997, 0.985, 0.997, 0.997 and 0.999 with seeds 0 to 4. Expect 0.95 or
more.
quick: n = 12, a minute; 0.935 to 0.969 on 1,024 held-out problems with seeds 0 to 4. Expect 0.9 or more.
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
