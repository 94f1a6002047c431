"""Word problems whose quantities depend on each other.

Run with `python -m experiments.main --config=experiments/word_problems.py`.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'word_problems'

PRESETS = {
    'laptop': {**configs.LAPTOP, 'task.num_steps': 4, 'train.steps': 4_000},
    'quick': {**configs.QUICK, 'task.num_steps': 2, 'train.steps': 1_500},
    'paper': {**configs.PAPER, 'task.num_steps': 8, 'task.alive': 3},
    'smoke': {**configs.SMOKE, 'task.num_steps': 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
