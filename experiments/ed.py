"""Edit distance, its matrix written row by row.

Run with `python -m experiments.main --config=experiments/ed.py`.

laptop (default): n = 6, the smallest of the paper, three layers of width 64, some 5 minutes of one core.
Chain accuracy on 4,096 held-out problems is 1.000, 1.000, 0.974, 1.000 and 0.999 with seeds 0 to 4. Expect
0.95 or more.
quick: n = 3, a minute; 0.995, 0.995, 0.916, 0.998 and 0.648 on 1,024 held-out problems. Expect 0.9 or more
from four seeds of five.
paper: n = 12 with the training of Feng et al.; n=6, 16 and 20 are the paper's other sizes. It is meant
for accelerators and has not been run.
smoke: seconds; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'edit_distance'

PRESETS = {
    'laptop': {**configs.LAPTOP, 'task.n': 6, 'train.steps': 4_000},
    'quick': {**configs.QUICK, 'task.n': 3, 'train.steps': 1_500},
    'paper': {**configs.PAPER, 'task.n': 12},
    'smoke': {**configs.SMOKE, 'task.n': 3},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
