"""The TensorFlow dataset holds the blocks' examples, in order, under a name for every task."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from effxf_jax import tasks
from effxf_jax.data.blocks import SPLITS, generate_block
from effxf_jax.data.dp_chains import DpChains, DpChainsConfig

TASK = tasks.make('edit_distance', n=6)
COUNTS = {'train': 6600, 'test': 40}  # several blocks, so that a pool makes them; and part of one


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp('tfds')
    builder = DpChains.of(
        TASK, data_dir=path, num_train_examples=COUNTS['train'], num_test_examples=COUNTS['test']
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'cpu_count', lambda: 2)  # so few workers that blocks wait for one another
        builder.download_and_prepare()
    return path


def expected(split):
    blocks = [generate_block(TASK, 0, split, number) for number in range(7)]
    return [np.concatenate(x)[: COUNTS[split]] for x in zip(*blocks, strict=True)]


@pytest.mark.parametrize('split', SPLITS)
def test_loading_by_name_gives_the_blocks_examples_in_order(data_dir, split):
    dataset = tfds.load('dp_chains/edit_distance_n6', split=split, data_dir=data_dir)
    assert len(dataset) == COUNTS[split]
    rows = list(dataset.as_numpy_iterator())
    for name, rows_of_blocks in zip(('tokens', 'given'), expected(split), strict=True):
        np.testing.assert_array_equal(np.stack([row[name] for row in rows]), rows_of_blocks)
    assert rows[0]['tokens'].dtype == np.uint8


def test_examples_can_be_read_in_any_order(data_dir):
    records = tfds.data_source('dp_chains/edit_distance_n6', split='train', data_dir=data_dir)
    tokens, given = expected('train')
    for index in 6599, 0, 1024, 1023:
        np.testing.assert_array_equal(records[index]['tokens'], tokens[index])
        np.testing.assert_array_equal(records[index]['given'], given[index])


def test_parts_of_a_split_and_batches_can_be_asked_for(data_dir):
    dataset = tfds.load(
        'dp_chains/edit_distance_n6', split='train[1000:1100]', data_dir=data_dir, batch_size=30
    )
    batches = [batch['tokens'] for batch in dataset.as_numpy_iterator()]
    assert [len(batch) for batch in batches] == [30, 30, 30, 10]
    np.testing.assert_array_equal(np.concatenate(batches), expected('train')[0][1000:1100])


def test_the_features_and_the_vocabulary_are_documented(data_dir):
    info = tfds.builder('dp_chains/edit_distance_n6', data_dir=data_dir).info
    assert 'prompt' in info.features['tokens'].doc.desc
    assert 'receives' in info.features['given'].doc.desc
    assert tuple(info.metadata['vocabulary']) == TASK.vocabulary.tokens
    assert 'EditDistance(n=6' in info.description


def test_names_tell_tasks_sizes_and_seeds_apart():
    name = lambda *args, seed=0, **options: DpChainsConfig.of(tasks.make(*args, **options), seed).name
    assert name('arithmetic', n=6) == 'arithmetic_n6'
    assert name('lis', n=40) == 'lis_n40'
    assert name('lis', n=40, number_range=99, seed=3) == 'lis_n40_number_range99_seed3'
    assert name('edit_distance', n=4, border='textbook') == 'edit_distance_n4_border_textbook'
    assert name('edit_distance_local', rows=7, pattern_length=4) in DpChains.builder_configs
    published = DpChains.BUILDER_CONFIGS
    assert len({config.name for config in published}) == len(published)
    assert {type(config.task) for config in published} == {
        kind for kind in tasks.TASKS.values() if kind.published_sizes
    }
    assert [name for name, kind in tasks.TASKS.items() if not kind.published_sizes] == ['gsm8k']


@pytest.mark.slow
def test_it_is_registered_by_importing_the_datasets_module(data_dir):
    program = (
        'import sys, tensorflow_datasets as tfds, effxf_jax.data.dp_chains; '
        "print(len(tfds.load('dp_chains/edit_distance_n6', split='test', data_dir=sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, '-c', program, data_dir], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ['40']


@pytest.mark.parametrize(
    ('task', 'options', 'seed'),
    [
        ('lis', {'n': 12}, 0),
        ('lis', {'n': 12, 'number_range': 40}, 3),
        ('edit_distance_local', {'rows': 6, 'pattern_length': 4}, 1),
        ('arithmetic', {'n': 4, 'order': 'leftmost', 'answer_mode': 'direct'}, 22),
    ],
)
def test_a_name_is_read_back_as_the_task_and_seed_that_it_was_made_of(task, options, seed):
    made = DpChainsConfig.of(tasks.make(task, **options), seed)
    read = DpChainsConfig.named(made.name)
    assert (read.task, read.seed, read.name) == (made.task, seed, made.name)


@pytest.mark.parametrize(
    'name', ['lis', 'lis_n', 'lis_nx', 'lis_n2', 'lis_n12_seed', 'lis_n012', 'none_n3', '']
)
def test_other_names_mean_no_task(name):
    assert DpChainsConfig.named(name) is None
    assert name not in DpChains.builder_configs


def test_what_is_prepared_loads_by_name_whatever_its_size_and_seed(tmp_path):
    task = tasks.make('lis', n=7, number_range=40)
    counts = {'num_train_examples': 20, 'num_test_examples': 5}
    DpChains.of(task, 5, data_dir=tmp_path, **counts).download_and_prepare()
    loaded = tfds.load('dp_chains/lis_n7_number_range40_seed5', data_dir=tmp_path, split='test')
    tokens = np.stack([example['tokens'] for example in loaded.as_numpy_iterator()])
    np.testing.assert_array_equal(tokens, generate_block(task, 5, 'test', 0).tokens[:5])
