"""A block depends only on its number and its split, and the splits are disjoint."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from effxf_jax import tasks
from effxf_jax.data import blocks
from effxf_jax.tasks.task import prompt_hash

TASK = tasks.make('arithmetic', n=4)
SMALL = [
    ('arithmetic', {'n': 3}),
    ('edit_distance', {'n': 3}),
    ('edit_distance_local', {'rows': 4, 'pattern_length': 2}),
    ('linear_equations', {'n': 2}),
    ('lis', {'n': 4, 'number_range': 40}),
]
"""Few enough prompts that many are drawn again and again."""


def test_seed_split_task_and_block_each_change_the_examples():
    made = [
        blocks.generate_block(TASK, 0, 'train', 0),
        blocks.generate_block(TASK, 1, 'train', 0),
        blocks.generate_block(TASK, 0, 'test', 0),
        blocks.generate_block(TASK, 0, 'train', 1),
        blocks.generate_block(tasks.make('arithmetic', n=4, modulus=7), 0, 'train', 0),
    ]
    assert all(block.tokens.shape == (blocks.BLOCK_SIZE, TASK.max_length) for block in made)
    assert len({block.tokens.tobytes() for block in made}) == len(made)


@pytest.mark.parametrize('n', [2, 6])
def test_train_and_test_prompts_are_disjoint(n):
    # Few prompts at n = 2, where a split by chance would surely overlap.
    task = tasks.make('arithmetic', n=n)
    prompts = {
        split: np.concatenate(
            [prompt_hash(blocks.generate_block(task, seed, split, 0)) for seed in range(20)]
        )
        for split in blocks.SPLITS
    }
    assert not np.intersect1d(prompts['train'], prompts['test']).size


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'options'), SMALL, ids=[name for name, _ in SMALL])
def test_train_and_test_prompts_are_disjoint_over_a_million_draws(name, options):
    task = tasks.make(name, **options)

    def prompts(split, count):
        examples = (blocks.generate_block(task, 0, split, number) for number in range(count))
        return {row[told].tobytes() for block in examples for row, told in zip(*block, strict=True)}

    train, test = prompts('train', 920), prompts('test', 60)
    assert len(train) > 100_000
    assert len(test) > 10_000
    assert not train & test


def test_one_prompt_in_sixteen_is_for_testing():
    examples = TASK.encode(TASK.sample(np.random.default_rng(0), 40_000))
    share = np.mean(prompt_hash(examples) % np.uint64(blocks.TEST_ONE_IN) == 0)
    assert abs(share - 1 / 16) < 5 * (15 / 16 / 16 / 40_000) ** 0.5


def test_a_split_to_which_no_prompt_belongs_is_an_error():
    class OneProblem(tasks.TASKS['arithmetic']):
        def sample(self, rng, count):
            return super().sample(np.random.default_rng(0), 1)

    with pytest.raises(blocks.DataError, match='the test split of .* is empty'):
        blocks.generate_block(OneProblem(n=3), 0, 'test', 0)


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="one of train, test; got 'validation'"):
        blocks.generate_block(TASK, 0, 'validation', 0)


def test_another_process_makes_the_same_bytes():
    program = (
        'import hashlib\nfrom effxf_jax import tasks\nfrom effxf_jax.data import blocks\n'
        f'for name, options in {SMALL!r}:\n'
        "    block = blocks.generate_block(tasks.make(name, **options), 3, 'train', 5)\n"
        '    print(hashlib.sha256(block.tokens.tobytes() + block.given.tobytes()).hexdigest())\n'
    )
    other = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    here = [blocks.generate_block(tasks.make(name, **options), 3, 'train', 5) for name, options in SMALL]
    digests = [hashlib.sha256(x.tokens.tobytes() + x.given.tobytes()).hexdigest() for x in here]
    assert other.stdout.split() == digests
