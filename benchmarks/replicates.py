"""Replicates trained side by side as one program, against the same runs one after another.

    python -m benchmarks.replicates [--out=DIR]

The laptop preset of arithmetic (batches of 32, at most 26 tokens), at widths typical of a sweep. All train on
batches from the pipeline, as a run does.
"""

import jax
from absl import app

from benchmarks import measure
from effxf_jax import training
from effxf_jax.data.pipeline import Stream, train_batches
from effxf_jax.model import Transformer
from effxf_jax.training.layout import Layout
from experiments import arith, configs

_WIDTHS = (16, 32)
_REPLICATES = (1, 2, 4, 8, 16)
_STEPS = 50


def steps_of(dim: int, num_replicates: int):
    """A function that makes _STEPS updates of all replicates and waits for their losses."""
    config = arith.get_config(f'dim={dim},num_replicates={num_replicates}')
    experiment = configs.make_experiment(config, jax.device_count())
    replicates = experiment.replicates()
    model = Transformer(experiment.model)
    optimizer = training.make_optimizer(experiment.train, experiment.model)
    streams = [Stream(r.open_data().train, r.seed) for r in replicates]
    states = [training.init_state(model, optimizer, r.seed) for r in replicates]
    train_step = training.make_train_step(model, optimizer, [r.seed for r in replicates])
    batches = train_batches(streams, experiment.train.batch_size)
    layout = Layout(num_replicates)
    held = [layout.to_devices(states)]

    def steps():
        late = None
        for _, state, fetch in training.run_steps(train_step, layout, held.pop(), batches, 0, _STEPS):
            held[:] = [state]
            if late:
                late()
            late = fetch
        return late()

    return steps


def main(argv):
    del argv
    rows = []
    for dim in _WIDTHS:
        seconds = measure.in_turn({r: steps_of(dim, r) for r in _REPLICATES})
        rows += [
            {
                'dim': dim,
                'replicates': r,
                'ms a step of all': seconds[r] / _STEPS * 1e3,
                'ms a step of each': seconds[r] / _STEPS / r * 1e3,
                'one after another / together': r * seconds[1] / seconds[r],
            }
            for r in _REPLICATES
        ]
    measure.report('replicates', rows)


if __name__ == '__main__':
    app.run(main)
