"""Word problems whose quantities depend on each other, solved step by step.

Run with `python -m experiments.main --config=experiments/word_problems.py`.

laptop (default): four steps, two quantities alive, told before the chain in shuffled order, with a
distractor; three layers of width 64 with a convolution of four tokens, some 8 minutes of two cores. Chain
accuracy on 4,096 held-out problems is 0.993, 0.951 and 0.977 with seeds 0 to 2. Expect 0.93 or more.
quick: two steps, told between the steps, a minute and a half; 1.000 and 1.000 on 1,024 held-out problems with
seeds 0 and 1. Expect 0.95 or more.
paper: eight steps and three quantities alive, with the training of Feng et al. It is meant for accelerators
and has not been run.
smoke: seconds; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = 'word_problems'

_CONVOLVED = {'model.conv_size': 4}

PRESETS = {
    'laptop': {
        **configs.LAPTOP,
        **_CONVOLVED,
        'task.num_steps': 4,
        'task.distractors': 1,
        'train.steps': 2_800,
    },
    'quick': {**configs.QUICK, **_CONVOLVED, 'task.num_steps': 2, 'task.told': 'between', 'train.steps': 700},
    'paper': {**configs.PAPER, 'task.num_steps': 8, 'task.alive': 3, 'task.distractors': 2},
    'smoke': {**configs.SMOKE, 'task.num_steps': 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
