"""How much time the input pipeline adds to a training step.

    python -m benchmarks.pipeline [--config=experiments/arith.py]

Times the same training steps twice, on batches from the pipeline and on batches in memory.
"""

import functools
import statistics
import time
from itertools import cycle, islice

import jax
from absl import app

from benchmarks.updates import Updates
from effxf_jax.data.pipeline import Stream, train_batches
from experiments import command_line, configs

_STEPS, _REPEATS = 300, 7


def main(argv):
    del argv
    config = command_line.CONFIG.value or configs.load('experiments/arith.py')
    experiment = configs.make_experiment(config, jax.device_count())
    stream = Stream(experiment.open_data().train, experiment.seed)
    pipeline = train_batches(stream, experiment.train.batch_size)
    held = cycle(list(islice(pipeline, 32)))
    updates = Updates(experiment.model, experiment.train, [experiment.seed])

    def seconds_per_step(batches):
        begun = time.perf_counter()
        updates.make(batches, 0, _STEPS)
        return (time.perf_counter() - begun) / _STEPS

    seconds_per_step(held)
    # In turn, so that other load on the machine affects both alike.
    pairs = [(seconds_per_step(held), seconds_per_step(pipeline)) for _ in range(_REPEATS)]
    held_time, pipeline_time = (statistics.median(times) for times in zip(*pairs, strict=True))
    share = statistics.median(with_pipeline / without - 1 for without, with_pipeline in pairs)
    print(
        f'a step takes {held_time * 1e3:.2f} ms on a batch in memory, '
        f'{pipeline_time * 1e3:.2f} ms on one from the pipeline'
    )
    print(f'the pipeline adds {share:.1%} to a step (median of {_REPEATS} pairs of {_STEPS} steps)')


if __name__ == '__main__':
    check = command_line.problems_of(configs.make_experiment)
    app.run(main, flags_parser=functools.partial(command_line.parse_flags, check=check))
