"""Arithmetic modulo 11 as a chain of thought.

Run with `python -m experiments.main --config=experiments/arith.py`.

laptop (default): n = 3, six layers of width 64. On two cores of an AMD EPYC 7003 it takes 3 minutes and
reaches 0.98 answer accuracy on 4,096 held-out problems (one seed; expect 0.95 or more).
paper: n = 6 with the training of Feng et al.; n=10, 13 and 16 are the paper's further sizes. It is meant for
accelerators and has not been run to its end.
smoke: seconds; learns nothing.
"""

from ml_collections import ConfigDict

from experiments import configs

TASK = {'name': 'arithmetic', 'n': 3, 'modulus': 11, 'order': 'random', 'answer_mode': 'chain'}

PRESETS = {
    # Six layers rather than the published three: where two operations could go first, a chain must tell
    # from what it has written so far which of them it began, and three layers are slow to learn that.
    'laptop': {
        'task.n': 3,
        'model.num_layers': 6,
        'model.dropout': 0.0,
        'train.steps': 6_000,
        'train.batch_size': 32,
        'train.learning_rate': 4e-3,
        'train.warmup_steps': 500,
        'train.beta2': 0.98,
        'run.num_eval_examples': 4096,
        'run.num_progress_examples': 256,
        'run.eval_every': 1500,
        'run.eval_batch_size': 512,
        'run.checkpoint_every': 500,
        'run.checkpoints_kept': 3,
        'run.log_every': 50,
    },
    # Feng et al. 2023: 10^6 examples, 100 epochs of batches of 512, 5 of them warm-up.
    'paper': {
        'task.n': 6,
        'model.dim': 256,
        'model.dropout': 0.1,
        'data.num_train_examples': 1_000_000,
        'train.steps': 195_300,
        'train.batch_size': 512,
        'train.learning_rate': 1e-4,
        'train.schedule': 'linear',
        'train.warmup_steps': 9_765,
        'run.num_eval_examples': 100_000,
        'run.num_progress_examples': 1024,
        'run.eval_every': 10_000,
        'run.eval_batch_size': 512,
        'run.checkpoint_every': 5_000,
        'run.checkpoints_kept': 3,
        'run.log_every': 100,
    },
    'smoke': {
        'task.n': 2,
        'model.dim': 16,
        'model.num_layers': 2,
        'model.num_heads': 2,
        'model.dropout': 0.1,
        'train.steps': 30,
        'train.batch_size': 16,
        'train.learning_rate': 5e-3,
        'train.warmup_steps': 5,
        'run.num_eval_examples': 48,
        'run.num_progress_examples': 16,
        'run.eval_every': 10,
        'run.eval_batch_size': 32,
        'run.checkpoint_every': 10,
        'run.checkpoints_kept': 3,
        'run.log_every': 10,
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.configs`."""
    return configs.build(arg, TASK, PRESETS)
