"""A training step of every mechanism against eager PyTorch's, on the same batch.

    python -m benchmarks.training [--out=DIR]

Three layers, four heads, dropout 0.1, AdamW, gradient clipping; a batch of the arithmetic task, once at the
task's longest length and once cut behind its longest row, as a run's batches are. PyTorch runs standard
attention, whatever ours runs.
"""

import dataclasses

import numpy as np
import torch
from absl import app
from flax import jax_utils

from benchmarks import measure, peers
from effxf_jax import tasks, training
from effxf_jax.datasets import cut_length
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import Examples
from effxf_jax.tasks.task import produced

# Width, operators of the arithmetic task (their longest chains take 86 and 222 tokens), batch size.
_CASES = ((64, 6, 64), (128, 10, 32))
_MECHANISMS = ('standard', 'sparse', 'sliding_window', 'linear', 'linear+linear+standard')


def ours(config: ModelConfig, batch):
    """A call that makes an update and waits for its loss."""
    model = Transformer(config)
    train = training.TrainConfig(steps=10**6, batch_size=len(batch.tokens), learning_rate=1e-4)
    optimizer = training.make_optimizer(train)
    train_step = training.make_train_step(model, optimizer, seed=0)
    states = [jax_utils.replicate(training.init_state(model, optimizer, seed=0))]
    batch = training.shard(batch)

    def step() -> float:
        state, metrics = train_step(states.pop(), batch)
        states.append(state)
        return float(training.to_host(metrics).loss)

    return step


def peer(config: ModelConfig, batch):
    """The same of PyTorch."""
    tokens, counts = torch.from_numpy(batch.tokens).long(), torch.from_numpy(produced(batch))
    return peers.train_step(peers.PeerTransformer(config), tokens, counts)


def main(argv):
    del argv
    torch.set_num_threads(measure.machine()['cores'])
    rows = []
    for dim, n, batch_size in _CASES:
        task = tasks.make('arithmetic', n=n)
        batch = task.encode(task.sample(np.random.default_rng(0), batch_size))
        config = ModelConfig(task.vocabulary.size, task.max_length, dim, num_heads=4, num_layers=3)
        length = cut_length(np.count_nonzero(batch.tokens, axis=1).max(), task.max_length)
        cut = Examples(*(x[:, :length] for x in batch))
        calls = {('PyTorch', task.max_length): peer(config, batch), ('PyTorch', length): peer(config, cut)}
        for mechanism in _MECHANISMS:
            own = dataclasses.replace(config, mechanism=mechanism)
            calls |= {(mechanism, task.max_length): ours(own, batch), (mechanism, length): ours(own, cut)}
        seconds = measure.in_turn(calls)
        rows += [
            {
                'dim': dim,
                'batch': batch_size,
                'mechanism': mechanism,
                'length': at,
                'ms': value * 1e3,
                'PyTorch, whole / ours': seconds['PyTorch', task.max_length] / value,
                'PyTorch, same length / ours': seconds['PyTorch', at] / value,
            }
            for (mechanism, at), value in seconds.items()
        ]
    measure.report('training', rows)


if __name__ == '__main__':
    app.run(main)
