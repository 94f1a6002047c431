"""Examples are a function of their index, splits are disjoint, and streams resume anywhere."""

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from effxf_jax import datasets, tasks
from effxf_jax.tasks.task import prompt_hash

TASK = tasks.make('arithmetic', n=4)


def take(count, *args, **kwargs):
    return list(itertools.islice(datasets.train_batches(*args, **kwargs), count))


def joined(batches):
    return [np.concatenate(x) for x in zip(*batches, strict=True)]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_example_i_does_not_depend_on_batch_size():
    source = datasets.generated(TASK, 0, 'train')
    assert_same(joined(take(12, source, 256, 0)), joined(take(6, source, 512, 0)))
    assert_same(joined(take(2, source, 1500, 0)), joined(take(30, source, 100, 0)))


@pytest.mark.parametrize('num_examples', [None, 300])
def test_a_stream_resumed_at_step_k_goes_on_as_if_never_stopped(num_examples):
    source = datasets.generated(TASK, 0, 'train', num_examples)
    whole = take(40, source, 64, 7)
    resumed = take(7, source, 64, 7, start_step=33)
    assert_same(joined(whole[33:]), joined(resumed))


@pytest.mark.parametrize('num_examples', [None, 300])
def test_hosts_share_out_the_very_batch_of_one_host(num_examples):
    source = datasets.generated(TASK, 0, 'train', num_examples)
    alone = take(3, source, 60, 0)
    shares = [take(3, source, 60, 0, host=host, hosts=3) for host in range(3)]
    for step in range(3):
        assert_same(alone[step], joined([share[step] for share in shares]))


def test_a_batch_that_hosts_cannot_share_is_refused():
    with pytest.raises(ValueError, match='divisible by 3 hosts; got 64'):
        next(datasets.train_batches(datasets.generated(TASK, 0, 'train'), 64, 0, hosts=3))


def test_each_epoch_of_a_fixed_set_is_another_permutation_of_it():
    indices = np.concatenate([datasets.batch_indices(step, 50, 3, 210) for step in range(21)])
    epochs = indices.reshape(-1, 210)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(210))
    assert len({epoch.tobytes() for epoch in epochs}) == len(epochs)
    other_seed = np.concatenate([datasets.batch_indices(step, 50, 4, 210) for step in range(21)])
    assert not np.array_equal(indices, other_seed)


def test_a_fixed_set_holds_the_first_examples_of_the_stream():
    fixed = datasets.generated(TASK, 0, 'train', 2000).read(np.arange(2000))
    assert_same(fixed, datasets.generated(TASK, 0, 'train').read(np.arange(2000)))


def test_seed_split_task_and_block_each_change_the_examples():
    blocks = [
        datasets.generate_block(TASK, 0, 'train', 0),
        datasets.generate_block(TASK, 1, 'train', 0),
        datasets.generate_block(TASK, 0, 'test', 0),
        datasets.generate_block(TASK, 0, 'train', 1),
        datasets.generate_block(tasks.make('arithmetic', n=4, modulus=7), 0, 'train', 0),
    ]
    assert all(block.tokens.shape == (datasets.BLOCK_SIZE, TASK.max_length) for block in blocks)
    assert len({block.tokens.tobytes() for block in blocks}) == len(blocks)


@pytest.mark.parametrize('n', [2, 6])
def test_train_and_test_prompts_are_disjoint(n):
    # Few prompts at n = 2, where a split by chance would surely overlap.
    task = tasks.make('arithmetic', n=n)
    prompts = {
        split: np.concatenate(
            [prompt_hash(datasets.generate_block(task, seed, split, 0)) for seed in range(20)]
        )
        for split in datasets.SPLITS
    }
    assert not np.intersect1d(prompts['train'], prompts['test']).size


@pytest.mark.slow
def test_train_and_test_prompts_are_disjoint_over_a_million_draws():
    task = tasks.make('arithmetic', n=3)
    train, test = (
        {
            row[given].tobytes()
            for block in range(blocks)
            for row, given in zip(*datasets.generate_block(task, 0, split, block), strict=True)
        }
        for split, blocks in (('train', 920), ('test', 60))
    )
    assert len(train) > 100_000
    assert len(test) > 10_000
    assert not train & test


def test_one_prompt_in_sixteen_is_for_testing():
    examples = TASK.encode(TASK.sample(np.random.default_rng(0), 40_000))
    share = np.mean(prompt_hash(examples) % np.uint64(datasets.TEST_ONE_IN) == 0)
    assert abs(share - 1 / 16) < 5 * (15 / 16 / 16 / 40_000) ** 0.5


def test_a_split_to_which_no_prompt_belongs_is_an_error():
    class OneProblem(tasks.TASKS['arithmetic']):
        def sample(self, rng, count):
            return super().sample(np.random.default_rng(0), 1)

    with pytest.raises(ValueError, match='the test split of .* is empty'):
        datasets.generate_block(OneProblem(n=3), 0, 'test', 0)


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="one of train, test; got 'validation'"):
        datasets.generate_block(TASK, 0, 'validation', 0)


def test_another_process_makes_the_same_bytes():
    program = (
        'import hashlib; from effxf_jax import datasets, tasks; '
        "block = datasets.generate_block(tasks.make('arithmetic', n=4), 3, 'train', 5); "
        'print(hashlib.sha256(block.tokens.tobytes() + block.given.tobytes()).hexdigest())'
    )
    other = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    block = datasets.generate_block(TASK, 3, 'train', 5)
    assert (
        other.stdout.split()[-1] == hashlib.sha256(block.tokens.tobytes() + block.given.tobytes()).hexdigest()
    )


def test_tensorflow_is_left_no_accelerator():
    import tensorflow as tf

    assert {device.device_type for device in tf.config.get_visible_devices()} == {'CPU'}
