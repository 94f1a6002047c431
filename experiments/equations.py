"""Linear equations modulo 11, by Gauss-Jordan elimination.

Run with `python -m experiments.main --config=experiments/equations.py`.

laptop (default): n = 2 modulo 5, three layers of width 64. On two cores of an AMD EPYC (Zen 4) it takes 3
minutes. Training stays on a plateau of 0.5 to 0.7 chain accuracy before it reaches 1.000, and it is chance
whether it reaches 1.000 within these steps: seed 0 ends at 0.800 on 4,096 held-out problems, and ended at
0.587 and 1.000 when sums were rounded differently. Expect 0.5 or more. Modulo 11, the same training is at
0.04 after 5,000 steps.
paper: n = 3 modulo 11 with the training of Feng et al. It is meant for accelerators and has not been
run.
smoke: seconds; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'linear_equations'

PRESETS = {
    'laptop': {**configs.LAPTOP, 'task.n': 3, 'train.steps': 6_000},
    'quick': {**configs.QUICK, 'task.n': 2, 'train.steps': 1_250},
    'paper': {**configs.PAPER, 'task.n': 3},
    'smoke': {**configs.SMOKE, 'task.n': 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
