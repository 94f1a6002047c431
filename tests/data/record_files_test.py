"""Files in GSM8K's format are read as they were written, and invalid lines have numbers and reasons."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from absl import logging

from effxf_jax import tasks
from effxf_jax.data import blocks, record_files
from effxf_jax.data.blocks import DataError, generate_block
from effxf_jax.data.mixtures import smaller_sizes
from effxf_jax.data.pipeline import Stream
from effxf_jax.data.sources import DataConfig, open_sources
from effxf_jax.gsm8k import records
from effxf_jax.tasks.task import ANSWER_MODES, prompt_hash

TASK = tasks.make('word_problems', num_steps=2)


def lines(task, count, seed=0):
    rows = generate_block(task, seed, 'train', 0).tokens[:count]
    return [records.dump(**task.to_record(row)) for row in rows]


@pytest.fixture
def school(tmp_path):
    """A task of a file of 120 problems, and the file."""
    path = tmp_path / 'school.jsonl'
    answer = 'He has {0}+1 = <<{0}+1={1}>>{1} pens.\n#### {1}'
    problems = [(f'Al has {i} pens and buys one.', answer.format(i, i + 1)) for i in range(120)]
    path.write_text(''.join(records.dump(*one) + '\n' for one in problems))
    return tasks.make('gsm8k', train_file=str(path)), str(path)


@pytest.mark.parametrize('told', ['before', 'between'])
@pytest.mark.parametrize('answer_mode', ANSWER_MODES)
def test_what_is_written_comes_back(told, answer_mode, tmp_path):
    task = tasks.make('word_problems', num_steps=2, told=told, answer_mode=answer_mode)
    path = tmp_path / 'file.jsonl'
    record_files.write(path, task, 3, 'test', 1200)
    expected = np.concatenate([generate_block(task, 3, 'test', number).tokens for number in (0, 1)])[:1200]
    found = record_files.load(path, task)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == blocks.token_dtype(task)


def test_the_problems_of_a_files_task_come_back(school, tmp_path):
    task, path = school
    found = [task.to_record(row) for row in record_files.load(path, task)]
    assert found == [json.loads(line) for line in Path(path).read_text().splitlines()]
    record_files.write(tmp_path / 'drawn.jsonl', task, 0, 'train', 50)
    expected = generate_block(task, 0, 'train', 0).tokens[:50]
    np.testing.assert_array_equal(record_files.load(tmp_path / 'drawn.jsonl', task), expected)


def test_a_bad_line_has_its_number_and_the_reason(tmp_path):
    good = lines(TASK, 3)
    step = json.loads(good[1])
    steps, _, answer = step['answer'].rpartition(' ')
    changed = dict(step, answer=f'{steps} {"1" if answer == "0" else "0"}')
    content = [*good * 500, 'nonsense', json.dumps(dict(step, answer='pigs')), json.dumps(changed), good[0]]
    path = tmp_path / 'file.jsonl'
    path.write_text('\n'.join(content))
    stretches = list(record_files.read(path, TASK))
    bad = [line for found in stretches for line in found.bad]
    assert [line.number for line in bad] == [1501, 1502, 1503]
    assert bad[0].reason.startswith('no JSON')
    assert "'pigs'" in bad[1].reason
    assert ', answer: ' in bad[2].reason
    assert sum(len(found.tokens) for found in stretches) == 1501
    with pytest.raises(DataError, match='has 3 bad lines; line 1501: no JSON.*; line 1502: .*; line 1503: '):
        record_files.load(path, TASK)


def test_a_right_record_that_is_too_long_is_left_out_and_counted(school):
    _, path = school
    task = tasks.make('gsm8k', train_file=path, max_tokens=34)
    (found,) = record_files.read(path, task)
    assert found.left_out > 0
    assert len(found.tokens) == 120 - found.left_out > 0
    assert not found.bad
    assert len(record_files.load(path, task)) == len(found.tokens)


def test_a_mixture_has_records_of_all_sizes_up_to_the_tasks(tmp_path):
    sizes = [*smaller_sizes(TASK), TASK]
    path = tmp_path / 'file.jsonl'
    path.write_text('\n'.join(line for size in sizes for line in lines(size, 5)))
    assert len(record_files.load(path, TASK, mixture=True)) == 5 * len(sizes)
    with pytest.raises(DataError, match=f'has {5 * (len(sizes) - 1)} bad lines'):
        record_files.load(path, TASK)


def test_a_task_without_records_is_refused(school, tmp_path):
    task = tasks.make('lis', n=4)
    with pytest.raises(DataError, match="LongestIncreasingSubsequence has no form in GSM8K's format"):
        record_files.load(school[1], task)
    with pytest.raises(DataError, match="LongestIncreasingSubsequence has no form in GSM8K's format"):
        record_files.write(tmp_path / 'out.jsonl', task, 0, 'train', 3)
    assert not list(tmp_path.glob('*out*'))


def test_loading_refuses_what_is_not_there_or_empty(tmp_path):
    with pytest.raises(DataError, match='none cannot be read: No such file'):
        record_files.load(tmp_path / 'none', TASK)
    with pytest.raises(DataError, match='cannot be read: Is a directory'):
        record_files.load(tmp_path, TASK)
    (tmp_path / 'empty').touch()
    with pytest.raises(DataError, match='empty is empty'):
        record_files.load(tmp_path / 'empty', TASK)


# As a source of training.


def opened(task, path, test_path=None, **values):
    return open_sources(DataConfig('gsm8k', path=path, test_path=test_path, **values), task, 0)


def test_a_source_of_records_has_the_examples_that_were_written(tmp_path):
    path = str(tmp_path / 'train.jsonl')
    record_files.write(path, TASK, 0, 'train', 200)
    found = opened(TASK, path, num_train_examples=150)
    made = open_sources(DataConfig(num_train_examples=150), TASK, 0)
    order = Stream(found.train, 7).indices(3, 64)
    np.testing.assert_array_equal(order, Stream(made.train, 7).indices(3, 64))
    for one, other in zip(found.train.read(order), made.train.read(order), strict=True):
        np.testing.assert_array_equal(one, other)
    some = np.arange(70)
    np.testing.assert_array_equal(found.test.read(some).tokens, made.test.read(some).tokens)
    with pytest.raises(DataError, match='must be at most 200, .* got 201'):
        opened(TASK, path, num_train_examples=201)


def test_a_files_task_without_a_test_file_is_tested_on_what_it_is_not_trained_on(school):
    task, path = school
    found = opened(task, path)
    hashes = [prompt_hash(one.read(np.arange(one.num_examples))) for one in found]
    assert len(np.unique(np.concatenate(hashes))) == 120
    assert [(one % 16 == 0).mean() for one in hashes] == [0, 1]
    assert 2 <= len(hashes[1]) <= 16
    assert opened(task, path, num_train_examples=50).train.num_examples == 50
    with pytest.raises(DataError, match=f'must be at most {len(hashes[0])}, '):
        opened(task, path, num_train_examples=120)
    order = [task.decode_text(row) for row in found.train.read(np.arange(len(hashes[0]))).tokens]
    assert order == sorted(order, key=lambda text: int(text.split()[2]))


def test_a_files_task_is_tested_on_the_file_that_is_given(school, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda layout, *values: warnings.append(layout % values))
    _, path = school
    test = tmp_path / 'test.jsonl'
    test.write_text(records.dump('Bo has 3 pens.', '#### 3') + '\n')
    task = tasks.make('gsm8k', train_file=path, test_file=str(test))
    assert [one.num_examples for one in opened(task, path, str(test))] == [120, 1]
    with pytest.raises(
        DataError, match='1 bad lines; line 1: malformed prompt .* the question is not one of'
    ):
        opened(tasks.make('gsm8k', train_file=path), path, str(test))
    with pytest.raises(DataError, match='all problems of .* are in '):
        opened(task, path, path)
    test.write_text(test.read_text() + Path(path).read_text().splitlines()[0])
    task = tasks.make('gsm8k', train_file=path, test_file=str(test))
    opened(task, path, str(test))
    assert warnings[-1] == f'1 of the 2 problems of {test} are in {path}, too.'


def test_a_file_too_small_for_a_test_split_is_refused(school, tmp_path):
    (tmp_path / 'one').write_text(Path(school[1]).read_text().splitlines()[0])
    task = tasks.make('gsm8k', train_file=str(tmp_path / 'one'))
    with pytest.raises(
        DataError, match='of the 1 examples of .*one belong to the test split; give test_path'
    ):
        opened(task, str(tmp_path / 'one'))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'source': 'tfds'}, "source 'tfds' needs a task that makes its problems"),
        ({'source': 'text'}, 'have several lines'),
        ({'source': 'gsm8k', 'train_sizes': 'mixture'}, "'mixture' needs a task of several sizes"),
        ({'source': 'generated', 'path': None, 'train_sizes': 'mixture'}, 'needs a task of several sizes'),
    ],
)
def test_what_a_files_task_cannot_have_is_refused(values, message, school):
    task, path = school
    with pytest.raises(DataError, match=message):
        open_sources(DataConfig(**{'path': path} | values), task, 0)


def refusal(function, *errors):
    """The message with which a function refuses; None if it does not."""
    try:
        function()
    except errors as error:
        return str(error)
    return None


def test_any_broken_lines_end_in_one_message(school, tmp_path):
    task, path = school
    rng = random.Random(0)
    of_task = {task: Path(path).read_text().splitlines(), TASK: lines(TASK, 100)}
    pieces = [b'', b'"', b'\\', b'\xff', b'\0', b'9', b'<<', b'####', b'\\ud800', b'<sep>']
    refused = 0
    for number in range(40):
        spoilt = str(tmp_path / f'{number}.jsonl')
        of, good = rng.choice(list(of_task.items()))
        content = [bytearray(line.encode()) for line in rng.sample(good, rng.randrange(1, 40))]
        for _ in range(rng.choice([0, 1, 5])):
            line = rng.choice(content)
            place = rng.randrange(len(line) + 1)
            line[place : place + rng.randrange(3)] = rng.choice(pieces)
        Path(spoilt).write_bytes(b'\n'.join(content))
        found = list(record_files.read(spoilt, of))
        assert sum(len(one.tokens) + len(one.bad) + one.left_out for one in found) == len(content)
        messages = [refusal(lambda of=of, spoilt=spoilt: opened(of, spoilt), DataError)]
        assert (messages[0] is not None) >= any(one.bad for one in found)
        if of is task:  # as the task's own file
            make = lambda spoilt=spoilt: tasks.make('gsm8k', train_file=spoilt)
            messages.append(refusal(make, ValueError))
        for message in filter(None, messages):
            assert message.isprintable()
            assert spoilt in message
            assert len(message) < 3000
        refused += any(messages)
    assert 10 < refused < 40
