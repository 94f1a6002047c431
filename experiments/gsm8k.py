"""Grade-school mathematics: a file in GSM8K's format (Cobbe et al. 2021), which you bring.

Run with `python -m experiments.main --config=experiments/gsm8k.py:path=FILE,test_path=FILE`. Without
test_path one in sixteen problems of the first file is for testing.

The task's files are those of the data, unless train_file and test_file are given. A question and its solution
are cut into words, or with tokens=bytes into bytes.

laptop (default): two layers of width 64; words that occur five times, examples of up to 256 tokens. It does
not solve GSM8K: with its two files and seed 0, 1,000 steps took 13 minutes of two busy cores. Of 256 test
problems, 6 answers (0.023) and no chain were right; the loss fell from 9.0 to 2.0 nats a token. It writes
sentences and annotations of the right form, and sums that are wrong. Expect 0 to 0.05.
smoke: a minute; the model learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs
from experiments.configs import SameAs

TASK = 'gsm8k'

_FILES = {
    'data.source': 'gsm8k',
    'task.train_file': SameAs('data.path'),
    'task.test_file': SameAs('data.test_path'),
}

PRESETS = {
    'laptop': {
        **configs.LAPTOP,
        **_FILES,
        'task.min_count': 5,
        'task.max_tokens': 256,
        'model.num_layers': 2,
        'train.steps': 1_000,
        'train.batch_size': 16,
        'train.warmup_steps': 100,
        'run.num_eval_examples': 256,
        'run.num_progress_examples': 64,
        'run.eval_every': 500,
        'run.eval_batch_size': 64,
    },
    'smoke': {**configs.SMOKE, **_FILES, 'run.num_eval_examples': 4, 'run.num_progress_examples': 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
