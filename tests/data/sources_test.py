"""Every source gives the same examples by index, and streams over it resume anywhere."""

import itertools
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from absl import logging

from effxf_jax import tasks
from effxf_jax.data import sources, text_files
from effxf_jax.data.blocks import DataError, generate_block
from effxf_jax.data.dp_chains import DpChains
from effxf_jax.data.pipeline import Stream, cut_length, train_batches
from effxf_jax.data.sources import DataConfig, digest, generated, open_sources

TASK = tasks.make('arithmetic', n=4)


def take(count, source, batch_size, seed, *args, **kwargs):
    return list(itertools.islice(train_batches(Stream(source, seed), batch_size, *args, **kwargs), count))


def whole(x):
    """Rows that were cut, with their padding."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, TASK.max_length - x.shape[-1])])


def joined(batches):
    return [np.concatenate([whole(part) for part in x], axis=-2) for x in zip(*batches, strict=True)]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_example_i_does_not_depend_on_batch_size():
    source = generated(TASK, 0, 'train')
    assert_same(joined(take(12, source, 256, 0)), joined(take(6, source, 512, 0)))
    assert_same(joined(take(2, source, 1500, 0)), joined(take(30, source, 100, 0)))


@pytest.mark.parametrize('num_examples', [None, 300])
def test_a_stream_resumed_at_step_k_goes_on_as_if_never_stopped(num_examples):
    source = generated(TASK, 0, 'train', num_examples)
    whole = take(40, source, 64, 7)
    resumed = take(7, source, 64, 7, start_step=33)
    assert_same(joined(whole[33:]), joined(resumed))


@pytest.mark.parametrize('num_examples', [None, 300])
def test_hosts_share_out_the_very_batch_of_one_host(num_examples):
    source = generated(TASK, 0, 'train', num_examples)
    alone = take(3, source, 60, 0)
    shares = [take(3, source, 60, 0, host=host, hosts=3) for host in range(3)]
    for step in range(3):
        assert_same(joined(alone[step : step + 1]), joined([share[step] for share in shares]))


def test_a_batch_is_cut_behind_its_longest_row():
    task = tasks.make('arithmetic', n=10)
    source = generated(task, 0, 'train')
    batches = take(40, source, 8, 0)
    rows = source.read(np.arange(40 * 8))
    longest = np.count_nonzero(rows.tokens, axis=1).reshape(40, 8).max(axis=1)
    lengths = np.array([batch.tokens.shape[1] for batch in batches])
    assert np.all(longest <= lengths)
    assert np.all((lengths < longest + 16) | (lengths == task.max_length))
    assert len(set(lengths)) > 1
    for number, batch in enumerate(batches):
        here = slice(8 * number, 8 * number + 8)
        assert_same(batch, [x[here, : lengths[number]] for x in rows])


def test_hosts_and_streams_cut_at_the_longest_row_of_all():
    task = tasks.make('arithmetic', n=10)
    seeds = 3, 4
    streams = [Stream(generated(task, seed, 'train'), seed) for seed in seeds]
    rows = np.stack([stream.source.read(np.arange(30 * 6)).tokens for stream in streams])
    longest = np.count_nonzero(rows, axis=2).reshape(2, 30, 6).max(axis=(0, 2))
    expected = [cut_length(n, task.max_length) for n in longest]
    assert len(set(expected)) > 1
    for host in range(3):
        batches = itertools.islice(train_batches(streams, 6, host=host, hosts=3), 30)
        for step, batch in enumerate(batches):
            mine = slice(6 * step + 2 * host, 6 * step + 2 * host + 2)
            np.testing.assert_array_equal(batch.tokens, rows[:, mine, : expected[step]])


@pytest.mark.parametrize('max_length', [1, 15, 17, 86, 222, 1000, 4095])
def test_a_cut_keeps_every_row_and_there_are_at_most_sixteen(max_length):
    cuts = [cut_length(longest, max_length) for longest in range(1, max_length + 1)]
    assert all(cut >= longest for longest, cut in enumerate(cuts, start=1))
    assert cuts[-1] == max_length
    assert len(set(cuts)) <= 16
    assert np.all(np.diff(np.unique(cuts))[:-1] >= 16)


@pytest.mark.parametrize('num_examples', [None, 300])
def test_streams_side_by_side_are_each_as_it_is_alone(num_examples):
    seeds = 3, 4, 9
    sources = [generated(TASK, seed, 'train', num_examples) for seed in seeds]
    streams = [Stream(*pair) for pair in zip(sources, seeds, strict=True)]
    together = joined(itertools.islice(train_batches(streams, 64, start_step=2), 9))
    for number, (source, seed) in enumerate(zip(sources, seeds, strict=True)):
        alone = joined(take(9, source, 64, seed, start_step=2))
        assert_same([x[number] for x in together], alone)


def test_a_batch_that_hosts_cannot_share_is_refused():
    with pytest.raises(ValueError, match='divisible by 3 hosts; got 64'):
        next(train_batches(Stream(generated(TASK, 0, 'train'), 0), 64, hosts=3))


def test_each_epoch_of_a_fixed_set_is_another_permutation_of_it():
    fixed = generated(TASK, 0, 'train', 210)
    indices = np.concatenate([Stream(fixed, 3).indices(step, 50) for step in range(21)])
    epochs = indices.reshape(-1, 210)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(210))
    assert len({epoch.tobytes() for epoch in epochs}) == len(epochs)
    other_seed = np.concatenate([Stream(fixed, 4).indices(step, 50) for step in range(21)])
    assert not np.array_equal(indices, other_seed)


def test_a_fixed_set_holds_the_first_examples_of_the_stream():
    fixed = generated(TASK, 0, 'train', 2000).read(np.arange(2000))
    assert_same(fixed, generated(TASK, 0, 'train').read(np.arange(2000)))


@pytest.mark.slow
def test_a_process_ends_with_a_pipeline_still_open():
    program = (
        'from effxf_jax import tasks\n'
        'from effxf_jax.data.pipeline import Stream, train_batches\n'
        'from effxf_jax.data.sources import generated\n'
        "source = generated(tasks.make('arithmetic', n=3), 0, 'train')\n"
        'batches = train_batches(Stream(source, 0), 32)\n'
        'next(batches)\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)


def test_tensorflow_is_left_no_accelerator():
    import tensorflow as tf

    assert {device.device_type for device in tf.config.get_visible_devices()} == {'CPU'}


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A TensorFlow dataset whose last blocks are not full."""
    path = tmp_path_factory.mktemp('tfds')
    DpChains.of(TASK, 0, data_dir=path, num_train_examples=2500, num_test_examples=70).download_and_prepare()
    return str(path)


@pytest.mark.slow
def test_processes_that_want_a_dataset_at_once_prepare_it_once(tmp_path):
    program = """
import functools, sys
from effxf_jax import tasks
from effxf_jax.data import sources

make = sources.DpChains.of
sources.DpChains.of = functools.partial(make, num_train_examples=5000, num_test_examples=70)
print(sources.prepared(tasks.make('arithmetic', n=4), 0, 'test', sys.argv[1]).num_examples, flush=True)
"""
    command = [sys.executable, '-c', program, str(tmp_path / 'data')]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    prepared = 0
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.splitlines()[-1] == '70'
        prepared += 'Downloading and preparing' in out
    assert prepared == 1


@pytest.mark.slow
def test_a_preparation_that_is_killed_leaves_no_process_and_the_next_one_no_files(tmp_path):
    script = f"""
if __name__ == '__main__':
    from effxf_jax import tasks
    from effxf_jax.data.dp_chains import DpChains
    task = tasks.make('edit_distance', n=3)
    DpChains.of(task, data_dir={str(tmp_path)!r}, num_train_examples=10**8).download_and_prepare()
"""
    (tmp_path / 'prepare.py').write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / 'prepare.py'], start_new_session=True, stderr=subprocess.DEVNULL
    )
    leftovers = lambda: list((tmp_path / 'dp_chains' / 'edit_distance_n3').glob('incomplete.*'))
    group = lambda: subprocess.run(['pgrep', '-g', str(process.pid)], capture_output=True).stdout.split()
    until(lambda: leftovers() and len(group()) >= 3)  # the process, and workers of its pool
    process.kill()
    process.wait()
    until(lambda: not group())
    assert leftovers()
    with (
        mock.patch.object(DpChains, 'download_and_prepare', side_effect=OSError('no room')),
        pytest.raises(OSError, match='no room'),
    ):
        sources.prepared(tasks.make('edit_distance', n=3), 0, 'test', str(tmp_path))
    assert not leftovers()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sources_of_other_examples_or_of_fewer_have_another_digest():
    sources = [
        generated(TASK, 0, 'train'),
        generated(TASK, 1, 'train'),
        generated(TASK, 0, 'train', 300),
        generated(TASK, 0, 'train', 2000),
    ]
    digests = [digest(source) for source in sources]
    assert len(set(digests)) == 4
    assert digest(generated(TASK, 0, 'train')) == digests[0]


@pytest.fixture
def text(tmp_path):
    """A file of 300 training examples."""
    text_files.write(tmp_path / 'train.txt', TASK, 0, 'train', 300)
    return str(tmp_path / 'train.txt')


@pytest.mark.parametrize('kind', ['tfds', 'text'])
def test_a_stored_source_gives_the_batches_of_the_generated_one(kind, prepared, text):
    path = {'tfds': prepared, 'text': text}[kind]
    generated = open_sources(DataConfig(num_train_examples=300), TASK, 0)
    stored = open_sources(DataConfig(kind, 300, path), TASK, 0)
    assert stored.train.num_examples == 300
    assert_same(joined(take(15, generated.train, 64, 3)), joined(take(15, stored.train, 64, 3)))
    assert_same(joined(take(2, generated.train, 64, 3, 99)), joined(take(2, stored.train, 64, 3, 99)))
    first_70 = np.arange(70)
    assert_same(generated.test.read(first_70), stored.test.read(first_70))


def test_a_tensorflow_dataset_may_be_read_whole(prepared):
    sources = open_sources(DataConfig('tfds', path=prepared), TASK, 0)
    assert (sources.train.num_examples, sources.test.num_examples) == (2500, 70)
    examples = sources.train.read(np.arange(2500))
    assert_same(examples, generated(TASK, 0, 'train').read(np.arange(2500)))
    assert examples.tokens.dtype == np.int32


def test_test_examples_of_a_text_run_do_not_stand_in_its_training_file(tmp_path):
    test = generate_block(TASK, 0, 'test', 0)
    path = tmp_path / 'some_test_problems.txt'
    path.write_text(''.join(TASK.decode_text(row) + '\n' for row in test.tokens[:200:2]))
    sources = open_sources(DataConfig('text', path=str(path)), TASK, 0)
    assert sources.train.num_examples == 100
    assert_same(sources.test.read(np.arange(80)), [x[1:160:2] for x in test])


def test_a_file_of_test_examples_is_read_as_it_stands(tmp_path, text):
    text_files.write(tmp_path / 'test.txt', TASK, 5, 'test', 40)
    sources = open_sources(DataConfig('text', None, text, str(tmp_path / 'test.txt')), TASK, 0)
    assert sources.test.num_examples == 40
    assert_same(sources.test.read(np.arange(40)), [x[:40] for x in generate_block(TASK, 5, 'test', 0)])


def test_a_tilde_in_a_path_is_the_home_directory(tmp_path, text, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    text_files.write(tmp_path / 'test.txt', TASK, 5, 'test', 40)
    sources = open_sources(DataConfig('text', None, '~/train.txt', '~/test.txt'), TASK, 0)
    assert (sources.train.num_examples, sources.test.num_examples) == (300, 40)


def test_test_problems_that_training_has_are_counted_and_refused_where_there_are_no_others(
    tmp_path, text, monkeypatch
):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda layout, *values: warnings.append(layout % values))
    path = tmp_path / 'test.txt'
    text_files.write(path, TASK, 0, 'test', 40)
    open_sources(DataConfig('text', None, text, str(path)), TASK, 0)
    assert warnings == []
    of_training = Path(text).read_text().splitlines(keepends=True)
    path.write_text(path.read_text() + ''.join(of_training[7:9]))
    open_sources(DataConfig('text', None, text, str(path)), TASK, 0)
    assert warnings == [f'2 of the 42 problems of {path} are in {text}, too.']
    path.write_text(of_training[3])
    for test_path in path, text:
        with pytest.raises(DataError, match='test_path must have problems that are not trained on'):
            open_sources(DataConfig('text', None, text, str(test_path)), TASK, 0)


def test_a_file_that_holds_every_test_problem_is_refused(tmp_path):
    task = tasks.make('arithmetic', n=1, modulus=2)
    text_files.write(tmp_path / 'test.txt', task, 0, 'test', 1024)
    with pytest.raises(DataError, match='all problems of the test split .* give test_path'):
        open_sources(DataConfig('text', path=str(tmp_path / 'test.txt')), task, 0)


def test_more_examples_than_there_are_cannot_be_asked_for(prepared, text):
    for kind, path, most in ('tfds', prepared, '2,500'), ('text', text, '300'):
        with pytest.raises(DataError, match=f'at most {most}, .* got 9,999'):
            open_sources(DataConfig(kind, 9999, path), TASK, 0)


@pytest.mark.parametrize(
    ('values', 'messages'),
    [
        (
            {'source': 'disk', 'num_train_examples': 0},
            ["generated, tfds, text, gsm8k; got 'disk'", 'at least 1'],
        ),
        ({'source': 'text'}, ["path must be given for source 'text'"]),
        ({'source': 'gsm8k'}, ["path must be given for source 'gsm8k'"]),
        ({'path': 'x', 'test_path': 'y'}, ["got 'x'", "got 'y'"]),
        ({'source': 'tfds', 'path': 'x', 'test_path': 'y'}, ["sources text, gsm8k only; got 'y'"]),
    ],
)
def test_everything_wrong_with_a_data_config_is_named(values, messages):
    with pytest.raises(ValueError) as error:
        DataConfig(**values)
    for message in messages:
        assert message in str(error.value)
    assert len(str(error.value).splitlines()) == len(messages)
