"""How many examples a second the tasks make: sampled, solved and encoded, on one core.

    python -m benchmarks.generators [--block 4096] [--runs 9]

Prints one line per task and size: examples per second of processor time, so that other processes on the
machine matter little, as the median over runs; the size in tokens; and, where the predecessor's generator
was timed at the same size, how many times as fast this is.
"""

import argparse
import statistics
import time

import numpy as np

from effxf_jax import tasks

# Examples a second of the generators published by Feng et al. (github.com/guyuntian/CoT_benchmark,
# {arithmetic,ED,LIS}/data.py), timed on one core by making the examples of each without writing them.
PREDECESSOR = {
    ('arithmetic', 'n=6'): 14_000,
    ('edit_distance', 'n=12'): 3_500,
    ('lis', 'n=40'): 2_100,
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
]


def examples_per_second(task: tasks.Task, block: int, runs: int) -> float:
    """The median over runs; each makes one block from a generator of its own."""
    seconds = []
    for seed in range(runs + 1):
        rng = np.random.default_rng(seed)
        start = time.process_time()
        task.encode(task.sample(rng, block))  # encode solves
        seconds.append(time.process_time() - start)
    return block / statistics.median(seconds[1:])  # the first fills caches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--block', type=int, default=4096, help='examples made at once')
    parser.add_argument('--runs', type=int, default=9)
    arguments = parser.parse_args()

    print(f'blocks of {arguments.block} examples, median of {arguments.runs} runs, one core')
    print(f'{"task":20} {"options":26} {"tokens":>6} {"examples/s":>11} {"of predecessor":>15}')
    for name, options in CASES:
        task = tasks.make(name, **options)
        speed = examples_per_second(task, arguments.block, arguments.runs)
        text = ', '.join(f'{option}={value}' for option, value in options.items())
        peer = PREDECESSOR.get((name, text))
        ratio = f'{speed / peer:.0f} x' if peer else ''
        print(f'{name:20} {text:26} {task.problem_size:6} {speed:11,.0f} {ratio:>15}'.rstrip())


if __name__ == '__main__':
    main()
