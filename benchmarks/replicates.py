"""Replicates trained side by side as one program, against the same runs one after another.

    python -m benchmarks.replicates [--out=DIR]

Arithmetic with batches of 32 of at most 26 tokens, six layers, at widths typical of a sweep. All train on
batches from the pipeline, as a run does.
"""

import jax
from absl import app

from benchmarks import measure
from benchmarks.updates import Updates
from effxf_jax.data.pipeline import Stream, train_batches
from experiments import configs

_WIDTHS = (16, 32)
_REPLICATES = (1, 2, 4, 8, 16)
_TRAINED = 'experiments/arith.py:n=3,num_layers=6,batch_size=32,optimizer=adamw'
STEPS = 50


def steps_of(config: str):
    """A function that makes STEPS updates of a run and waits for their losses.

    Args:
        config: the run, as in --config.
    """
    experiment = configs.make_experiment(configs.load(config), jax.device_count())
    replicates = experiment.replicates()
    streams = [Stream(r.open_data().train, r.seed) for r in replicates]
    batches = train_batches(streams, experiment.train.batch_size)
    updates = Updates(experiment.model, experiment.train, [r.seed for r in replicates])
    return lambda: updates.make(batches, 0, STEPS)


def main(argv):
    del argv
    rows = []
    for dim in _WIDTHS:
        seconds = measure.in_turn(
            {r: steps_of(f'{_TRAINED},dim={dim},num_replicates={r}') for r in _REPLICATES}
        )
        rows += [
            {
                'dim': dim,
                'replicates': r,
                'ms a step of all': seconds[r] / STEPS * 1e3,
                'ms a step of each': seconds[r] / STEPS / r * 1e3,
                'one after another / together': r * seconds[1] / seconds[r],
            }
            for r in _REPLICATES
        ]
    measure.report('replicates', rows)


if __name__ == '__main__':
    app.run(main)
