"""How many examples per second the tasks sample, solve and encode on one core.

    python -m benchmarks.generators [--block 4096] [--runs 9]

Prints one line per task and size: the size in tokens; the examples per second of processor time (which other
processes on the machine affect little), as the median over runs; and the ratio to both figures of the
predecessor's generators, at the sizes for which they are known.
"""

import argparse
import statistics
import time

import numpy as np

from effxf_jax import tasks

# Examples per second of the generators published by Feng et al. (github.com/guyuntian/CoT_benchmark, at
# {arithmetic,ED,LIS}/data.py). First this project's reference figures ("set"), whose machine is not recorded.
# Then figures timed on an AMD EPYC 7003 core ("timed"), in processor time as below, of the functions that
# draw, solve and write one example, without the search for duplicates and without writing files.
PREDECESSOR = {
    ('arithmetic', 'n=6'): (14_000, 41_000),
    ('edit_distance', 'n=12'): (3_500, 5_500),
    ('lis', 'n=40'): (2_100, 2_550),
}

CASES = [
    *[('arithmetic', {'n': n}) for n in (3, 6, 10, 16)],
    *[('edit_distance', {'n': n}) for n in (6, 12, 16, 20)],
    *[('lis', {'n': n}) for n in (10, 40, 110, 249)],
    *[
        ('edit_distance_local', {'rows': rows, 'pattern_length': m})
        for rows, m in ((10, 4), (40, 4), (40, 8))
    ],
    *[('linear_equations', {'n': n}) for n in (3, 4, 5)],
    *[('word_problems', {'num_steps': n, 'alive': 3, 'distractors': 2}) for n in (4, 8, 16)],
    ('word_problems', {'num_steps': 8, 'alive': 3, 'distractors': 2, 'told': 'between'}),
]


def examples_per_second(task: tasks.Task, block: int, runs: int) -> float:
    """The median over runs, each of which makes one block of examples with its own random generator."""
    seconds = []
    for seed in range(runs + 1):
        rng = np.random.default_rng(seed)
        start = time.process_time()
        task.encode(task.sample(rng, block))  # encode solves
        seconds.append(time.process_time() - start)
    return block / statistics.median(seconds[1:])  # the first run fills caches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--block', type=int, default=4096, help='examples in a block')
    parser.add_argument('--runs', type=int, default=9, help='blocks per task; the median counts')
    arguments = parser.parse_args()

    print(f'blocks of {arguments.block} examples, median of {arguments.runs} runs, one core')
    print(f'{"task":20} {"options":26} {"tokens":>6} {"examples/s":>11} {"x set":>6} {"x timed":>8}')
    for name, options in CASES:
        task = tasks.make(name, **options)
        speed = examples_per_second(task, arguments.block, arguments.runs)
        text = ', '.join(f'{option}={value}' for option, value in options.items())
        ratios = [f'{speed / peer:.0f}' for peer in PREDECESSOR.get((name, text), ())] or ['', '']
        line = f'{name:20} {text:26} {task.problem_size:6} {speed:11,.0f} {ratios[0]:>6} {ratios[1]:>8}'
        print(line.rstrip())


if __name__ == '__main__':
    main()
