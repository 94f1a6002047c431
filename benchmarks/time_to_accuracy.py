"""Seconds of training until a preset reaches an accuracy, ours against PyTorch's.

    python -m benchmarks.time_to_accuracy [--config=experiments/arith.py] [--target=0.95] [--out=DIR]

All train the preset's model, with standard attention, on the same batches; they take turns of --every steps,
each with all cores. Their optimisers: the preset's Muon in both, with queries, keys and values as one matrix
and with the preset's schedule, at whose end they stop; and the predecessor's AdamW in PyTorch, at a constant
learning rate of 1e-4, until --limit. PyTorch is eager and, where it finds a C++ compiler, also compiled. In
its Muon AdamW, which updates embeddings, the head, biases and LayerNorm, has no Nesterov momentum; ours has.

A turn's seconds count compilation, but neither reading batches nor grading. Our decoder grades the parameters
of all.
"""

import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import torch
from absl import app, flags

from benchmarks import measure, peers
from benchmarks.updates import Updates
from effxf_jax import evaluation, training
from effxf_jax.data.pipeline import Stream, train_batches
from effxf_jax.model import Transformer
from effxf_jax.runs.experiment import Experiment
from effxf_jax.tasks import Examples
from effxf_jax.tasks.task import produced
from experiments import command_line, configs

_TARGET = flags.DEFINE_float('target', 0.95, 'The accuracy, of answers where the task has any.')
_EVERY = flags.DEFINE_integer('every', 250, 'Steps between gradings.')
_LIMIT = flags.DEFINE_integer('limit', 1200, 'Seconds of training after which a program is given up.')
Turn = Callable[[Sequence[Examples], int], dict]
"""`(batches, step) -> params`: trains on batches, the first of which is that of update step + 1; returns the
parameters as those of our model."""


def ours(experiment: Experiment) -> Turn:
    """Turns of our train step."""
    updates = Updates(experiment.model, experiment.train, [experiment.seed])

    def turn(batches, step):
        updates.make(iter(batches), step, step + len(batches))
        return updates.params()

    return turn


def pytorch(experiment: Experiment, optimizers, rates=None, compiled: bool = False) -> Turn:
    """Turns of PyTorch's.

    Args:
        experiment: the experiment.
        optimizers: `model -> list` of its optimisers.
        rates: the learning rate of each optimiser by step, or None for its own.
        compiled: whether the model is compiled by `torch.compile`.
    """
    torch.manual_seed(experiment.seed)
    model = peers.PeerTransformer(experiment.model)
    own = optimizers(model)
    step_of = peers.train_step(torch.compile(model) if compiled else model, own)

    def turn(batches, step):
        for number, batch in enumerate(batches, step):
            for optimizer, of_steps in zip(own, rates or [], strict=bool(rates)):
                for group in optimizer.param_groups:
                    group['lr'] = of_steps[number]
            step_of(torch.tensor(batch.tokens, dtype=torch.int64), torch.from_numpy(produced(batch)).float())
        return peers.params_of(model)

    return turn


class Program(NamedTuple):
    """What is compared: its turns, and after how many steps its schedule ends."""

    turn: Turn
    steps: float


def programs(experiment: Experiment) -> dict[str, Program]:
    """The programs by name."""
    train = experiment.train
    schedule = jax.vmap(training.learning_rate_schedule(train))(np.arange(train.steps))
    options = train.option_values()
    muon = functools.partial(peers.muon, betas=(options['beta1'], options['beta2']))
    rates = [np.asarray(schedule).tolist(), (options['adam_ratio'] * np.asarray(schedule)).tolist()]
    found = {
        'ours': Program(ours(experiment), train.steps),
        'PyTorch': Program(pytorch(experiment, muon, rates), train.steps),
        "PyTorch, predecessor's AdamW": Program(pytorch(experiment, peers.adamw), math.inf),
    }
    if shutil.which('g++'):
        compiled = pytorch(experiment, muon, rates, compiled=True)
        found['PyTorch, compiled'] = Program(compiled, train.steps)
    else:
        print('torch.compile finds no C++ compiler here and is left out')
    return found


def main(argv):
    del argv
    torch.set_num_threads(measure.machine()['cores'])
    config = command_line.CONFIG.value or configs.load('experiments/arith.py')
    config.train.separate = False
    experiment = configs.make_experiment(config, jax.device_count())
    model, count = Transformer(experiment.model), experiment.run.num_progress_examples
    sources = experiment.open_data()
    examples = sources.test.read(np.arange(count))
    batches = train_batches(Stream(sources.train, experiment.seed), experiment.train.batch_size)
    left, seconds, rows = programs(experiment), {}, []
    for step in itertools.count(step=_EVERY.value):
        of_turn = list(itertools.islice(batches, _EVERY.value))
        for name, program in list(left.items()):
            of_program = of_turn[: min(len(of_turn), program.steps - step)]
            begun = time.perf_counter()
            params = program.turn(of_program, step)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begun
            measured, _ = evaluation.evaluate(
                model, params, experiment.task, examples, experiment.run.eval_batch_size
            )
            accuracy, done = measured.answer_accuracy, step + len(of_program)
            print(f'{name}: step {done:,}, {seconds[name]:.0f} s, answers {accuracy:.3f}', flush=True)
            if accuracy >= _TARGET.value or seconds[name] > _LIMIT.value or done == program.steps:
                del left[name]
                rows.append({
                    'program': name, 'steps': done, 'seconds': seconds[name], 'accuracy': accuracy,
                    'reached': bool(accuracy >= _TARGET.value), 'ms a step': seconds[name] / done * 1e3,
                })  # fmt: skip
        if not left:
            break
    measure.report('time_to_accuracy', rows)


if __name__ == '__main__':
    check = command_line.problems_of(configs.make_experiment)
    app.run(main, flags_parser=functools.partial(command_line.parse_flags, check=check))
