"""Edit distance of a pattern to the latest part of a stream, with adjustable locality.

Run with `python -m experiments.main --config=experiments/ed_local.py`.

laptop (default): a pattern of 4 letters and a stream of 6, three layers of width 64, some 3 minutes of one
core. Chain accuracy on 4,096 held-out problems is 1.000 with each of the seeds 0 to 4. Expect 0.99 or more.
quick: a pattern of 3, a minute; 0.998 or more on 1,024 held-out problems with seeds 0 to 4. Expect 0.95 or
more.
paper: a pattern of 4 and a stream of 20, some 210 tokens, with the training of Feng et al.; the paper
names the task but no sizes, so the sizes are ours. It is meant for accelerators and has not been run.
smoke: seconds; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'edit_distance_local'

PRESETS = {
    'laptop': {**configs.LAPTOP, 'task.rows': 6, 'task.pattern_length': 4, 'train.steps': 2_000},
    'quick': {**configs.QUICK, 'task.rows': 6, 'task.pattern_length': 3, 'train.steps': 750},
    'paper': {**configs.PAPER, 'task.rows': 20, 'task.pattern_length': 4},
    'smoke': {**configs.SMOKE, 'task.rows': 3, 'task.pattern_length': 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
