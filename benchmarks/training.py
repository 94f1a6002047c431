"""A training step with every mechanism, against one in eager PyTorch on the same batches.

    python -m benchmarks.training [--out=DIR]

Three layers, four heads, dropout 0.1, AdamW, gradient clipping; the first batches of an arithmetic task,
padded to the task's longest length ("whole") or, as in a run, cut after their longest row ("cut"). Ours makes
several updates in a call, as a run does. PyTorch always runs standard attention.
"""

import dataclasses
import itertools
import statistics

import numpy as np
import torch
from absl import app

from benchmarks import measure, peers
from benchmarks.updates import Updates
from effxf_jax import tasks, training
from effxf_jax.data.pipeline import Stream, train_batches
from effxf_jax.data.sources import generated
from effxf_jax.model import ModelConfig
from effxf_jax.tasks import Examples
from effxf_jax.tasks.task import produced

# Width, operators of the arithmetic task (the longest chains have 86 and 222 tokens), batch size.
_CASES = ((64, 6, 64), (128, 10, 32))
_BATCHES = 8
_MECHANISMS = ('standard', 'sparse', 'sliding_window', 'linear', 'linear+linear+standard')


def ours(config: ModelConfig, batches: list[Examples]):
    """A function that makes an update on each batch and waits for the losses."""
    train = training.TrainConfig(steps=10**6, batch_size=len(batches[0].tokens), learning_rate=1e-4)
    updates = Updates(config, train)
    return lambda: updates.make(iter(batches), 0, len(batches))


def pytorch(config: ModelConfig, batches: list[Examples]):
    """A function that makes the same updates of PyTorch's Transformer."""
    model = peers.PeerTransformer(config)
    step = peers.train_step(model, peers.adamw(model))
    pairs = [
        (torch.tensor(b.tokens, dtype=torch.int64), torch.tensor(produced(b), dtype=torch.float32))
        for b in batches
    ]

    def steps() -> None:
        for tokens, counts in pairs:
            step(tokens, counts)

    return steps


def main(argv):
    del argv
    torch.set_num_threads(measure.machine()['cores'])
    rows = []
    for dim, n, batch_size in _CASES:
        task = tasks.make('arithmetic', n=n)
        source = generated(task, 0, 'train')
        cut = train_batches(Stream(source, 0), batch_size)
        batches = {
            'whole': [source.read(k * batch_size + np.arange(batch_size)) for k in range(_BATCHES)],
            'cut': list(itertools.islice(cut, _BATCHES)),
        }
        config = ModelConfig(task.vocabulary.size, task.max_length, dim, num_heads=4, num_layers=3)
        calls = {('PyTorch', kind): pytorch(config, batches[kind]) for kind in batches}
        for mechanism in _MECHANISMS:
            own = dataclasses.replace(config, mechanism=mechanism)
            calls |= {(mechanism, kind): ours(own, batches[kind]) for kind in batches}
        seconds = measure.in_turn(calls)
        rows += [
            {
                'dim': dim,
                'batch': batch_size,
                'mechanism': mechanism,
                'batches': kind,
                'length': statistics.fmean(b.tokens.shape[1] for b in batches[kind]),
                'ms a step': value / _BATCHES * 1e3,
                'PyTorch, whole / ours': seconds['PyTorch', 'whole'] / value,
                'PyTorch, the same / ours': seconds['PyTorch', kind] / value,
            }
            for (mechanism, kind), value in seconds.items()
        ]
    measure.report('training', rows)


if __name__ == '__main__':
    app.run(main)
