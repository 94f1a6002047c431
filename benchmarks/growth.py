"""Seconds and bytes of training and decoding as problems grow, each mechanism at the width that it needs.

    python -m benchmarks.growth [--largest=126] [--out=DIR]

The task is edit distance of two strings of n letters each. Two widths for each mechanism: that of its
construction, whose layers the model then has, also beyond the sizes at which float32 holds the weights; and
the theory's lower bound, with three layers. Training: one update on some 16,384 tokens, at least one row on
each device, left out where the memory does not hold it; and the bytes that an update of one row on each
device allocates there besides its arguments. Decoding: one token of one row at the row's end, and the bytes
of its caches. Weights are random. With --out the rows that are there already are kept.
"""

import dataclasses
import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measure
from benchmarks.one_token import STEPS_AT_POSITION, microseconds_at, with_random_weights
from effxf_jax import tasks, training
from effxf_jax.constructions import catalogue, compiler
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.runs import memory
from effxf_jax.tasks import Task
from effxf_jax.theory import bottleneck
from effxf_jax.training.layout import Layout

_LARGEST = flags.DEFINE_integer('largest', 126, 'The largest number of letters.')
_LETTERS = (10, 21, 44, 89, 126)  # 135 to 16,259 tokens
_TOKENS = 16_384
_SECONDS = 15  # of timed updates of a model; nine updates if they are short, one if it is longer than this
_CONSTRUCTIONS = (
    'standard', 'fixed', 'strided', 'linear_table', 'linear_overwriting', 'delta', 'routed',
)  # fmt: skip


class Model(NamedTuple):
    """A model to measure.

    Attributes:
        kind: which width it has, 'constructed' or 'bound'.
        construction: the construction whose mechanism it has.
        config: its configuration.
    """

    kind: str
    construction: str
    config: ModelConfig


def models(task: Task) -> list[Model]:
    """The models of a size; a bound is the same for constructions of one mechanism."""
    found, bounds = [], set()
    for name in _CONSTRUCTIONS:
        construction = catalogue.CONSTRUCTIONS['edit_distance'][name]
        config = compiler.model_config(
            construction.program(task), construction.mechanism, construction.options(task)
        )
        found.append(Model('constructed', name, config))
        least = bottleneck.least_width(task, dataclasses.replace(config, num_layers=3)).width
        dim = bottleneck.round_up(least, config.num_heads)
        own = dataclasses.replace(config, num_layers=3, dim=dim)
        if own not in bounds:
            bounds.add(own)
            found.append(Model('bound', name, own))
    return found


def compiled_update(config: ModelConfig, task: Task, rows: int):
    """A compiled update of a number of rows, and its arguments: the state, the batches and their count."""
    model = Transformer(config)
    train = training.TrainConfig(steps=10**6, batch_size=rows, learning_rate=1e-4, optimizer='muon')
    optimizer, layout = training.make_optimizer(train, config), Layout()
    batches = layout.shard([task.encode(task.sample(np.random.default_rng(0), rows))])
    states = layout.to_devices([training.init_state(model, optimizer, seed=0)])
    arguments = states, batches, jnp.int32(1)
    return training.make_train_step(model, optimizer, seeds=[0]).lower(*arguments).compile(), *arguments


def training_seconds(config: ModelConfig, task: Task) -> float | None:
    """The seconds of an update for each token; None if the machine's memory does not hold an update."""
    devices = jax.device_count()
    rows = max(_TOKENS // task.max_length // devices, 1) * devices
    step, state, batches, count = compiled_update(config, task, rows)
    if not fits(step):
        return None
    states = [state]

    def update():
        state, metrics = step(states.pop(), batches, count)
        states.append(state)
        Layout().to_host(metrics)

    update()
    begun = time.perf_counter()
    update()
    runs = int(_SECONDS / (time.perf_counter() - begun))
    seconds = measure.in_turn({'update': update}, runs=max(min(runs, 9), 1), warmups=0)['update']
    return seconds / (rows * task.max_length)


def fits(step) -> bool:
    """Whether a CPU's memory, which the devices share, holds a compiled update and something besides."""
    if jax.default_backend() != 'cpu':
        return True
    sizes = step.memory_analysis()
    needed = sizes.temp_size_in_bytes + sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return (needed - sizes.alias_size_in_bytes) * jax.local_device_count() < 0.7 * memory.host_bytes()


def training_bytes(config: ModelConfig, task: Task) -> int:
    """The bytes that an update of one row on each device allocates on a device."""
    step, *_ = compiled_update(config, task, jax.device_count())
    return step.memory_analysis().temp_size_in_bytes


def cache_bytes(config: ModelConfig, length: int) -> int:
    """The bytes of the caches of one row of `length` tokens."""
    init = functools.partial(Transformer(config).init_cache, 1, length)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(init)))


def key_of(model: Model, task: Task) -> dict:
    """What tells a row from others."""
    return {'n': task.n, 'construction': model.construction, 'width': model.kind}


def row_of(model: Model, task: Task) -> dict:
    """The row of the table."""
    length = task.max_length
    config = dataclasses.replace(model.config, dropout=0.0)
    # Room for the steps that are timed, beyond the row's end.
    longer = dataclasses.replace(config, max_length=length + STEPS_AT_POSITION)
    one_token = microseconds_at(*with_random_weights(longer), [length])[length]
    seconds = training_seconds(config, task)
    return {
        **key_of(model, task),
        'length': length,
        'dim': config.dim,
        'layers': config.num_layers,
        'training, ms per 1,000 tokens': seconds and seconds * 1e6,
        'training, MB a row': training_bytes(config, task) / 1e6,
        'decoding, us a token': one_token,
        'caches, kB': cache_bytes(config, length) / 1e3,
    }


_PANELS = (
    'training, ms per 1,000 tokens', 'training, MB a row', 'decoding, us a token', 'caches, kB'
)  # fmt: skip


def plot(rows, path):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(10, 7), layout='constrained', sharex=True)
    for axes, quantity in zip(panels.flat, _PANELS, strict=True):
        for color, name in enumerate(_CONSTRUCTIONS):
            for kind, style in (('constructed', 'o-'), ('bound', 'x:')):
                points = [
                    (r['length'], r[quantity])
                    for r in rows
                    if (r['construction'], r['width']) == (name, kind) and r[quantity] is not None
                ]
                if points:
                    label = name if kind == 'constructed' else None
                    x, y = zip(*points, strict=True)
                    axes.loglog(x, y, style, color=f'C{color}', label=label, markersize=4)
        axes.set(ylabel=quantity)
        axes.minorticks_off()
    for axes in panels[1]:
        lengths = sorted({r['length'] for r in rows})
        axes.set_xticks(lengths, [f'{x:,}' for x in lengths], rotation=45)
        axes.set(xlabel='tokens L of edit distance')
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside right upper', title='construction\n(dotted: bound)')
    figure.savefig(path, dpi=150)


def main(argv):
    del argv
    rows = measure.saved('growth')
    for n in _LETTERS:
        if n <= _LARGEST.value:
            task = tasks.make('edit_distance', n=n, lengths='equal')
            for model in models(task):
                if any(key_of(model, task).items() <= row.items() for row in rows):
                    continue
                rows.append(row_of(model, task))
                measure.save('growth', rows)
                print(rows[-1], flush=True)
                jax.clear_caches()  # XLA's compiler crashed in a process that held hundreds of programs
    measure.report('growth', rows, functools.partial(plot, rows))


if __name__ == '__main__':
    app.run(main)
