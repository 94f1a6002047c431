"""A run's files survive kills, and a directory belongs to one configuration."""

import json

import pytest
from absl import logging

from effxf_jax.evaluation import Evaluation
from effxf_jax.runs.directory import InUseError, MetricsLog, MismatchError, RunDirectory, check_same
from effxf_jax.training import Metrics


def log(directory, start, steps, measured=None):
    with MetricsLog(directory, start) as metrics_log:
        for step in steps:
            metrics_log.write(step, Metrics(1 / step, 5, 2.0), measured, to_tensorboard=True)


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]


def test_lines_past_the_restored_step_are_dropped_so_that_each_stands_once(tmp_path):
    directory = RunDirectory(tmp_path)
    log(directory, 0, range(1, 9))
    log(directory, 5, range(6, 11))
    assert [line['step'] for line in lines(tmp_path)] == list(range(1, 11))
    assert lines(tmp_path)[6] == {'step': 7, 'loss': 1 / 7, 'grad_norm': 2.0}


def test_a_line_torn_by_a_kill_is_dropped(tmp_path):
    directory = RunDirectory(tmp_path)
    log(directory, 0, range(1, 4))
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 4, "lo')
    log(directory, 4, [5])
    assert [line['step'] for line in lines(tmp_path)] == [1, 2, 3, 5]


def test_lines_that_cannot_be_read_are_dropped_with_one_warning(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    log(directory, 0, range(1, 4))
    path = tmp_path / 'metrics.jsonl'
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_bytes(''.join([first, '\0' * 20 + '\n', '\n', *rest]).encode() + b'\xff\xfe\n')
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda text, *values: warnings.append(text % values))
    log(directory, 3, [4])
    assert [line['step'] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert warnings == [f'{path}: unreadable lines are omitted: 2, 3, 6.']


def test_evaluations_stand_in_the_line_of_their_step(tmp_path):
    log(RunDirectory(tmp_path), 0, [1], Evaluation(0.5, 0.25, 0.125, 1.5))
    assert lines(tmp_path)[0]['answer_accuracy'] == 0.5
    assert lines(tmp_path)[0]['teacher_forced_loss'] == 1.5


def test_the_same_metrics_go_to_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    log(RunDirectory(tmp_path), 0, range(1, 4))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    points = {
        event.step: float(tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors('loss')
    }
    assert points == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})


def test_a_directory_is_claimed_by_one_configuration(tmp_path):
    config = {'seed': 0, 'model': {'dim': 64, 'block_size': None}}
    directory = RunDirectory(tmp_path / 'a' / 'b')
    directory.claim(config)
    directory.claim(config)
    assert json.loads((tmp_path / 'a/b/config.json').read_text()) == config
    with pytest.raises(MismatchError, match='model.dim is 64 there and 32 here'):
        directory.claim({'seed': 0, 'model': {'dim': 32, 'block_size': None}})


def test_all_differing_fields_are_named_missing_ones_too():
    with pytest.raises(MismatchError) as error:
        check_same({'a': {'x': 1, 'y': 2}, 'b': 3}, {'a': {'x': 1, 'y': 5}, 'c': 4}, 'It')
    for part in (
        'a.y is 2 there and 5 here',
        "b is 3 there and 'nothing' here",
        "c is 'nothing' there and 4 here",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize('text', ['', '[1, 2]', '[]', '{"seed": '])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(MismatchError, match=r'config\.json is damaged'):
        RunDirectory(tmp_path).claim({'seed': 0})


def test_a_second_process_is_kept_out(tmp_path):
    first, second = RunDirectory(tmp_path).lock(), RunDirectory(tmp_path).lock()
    with first, pytest.raises(InUseError, match='another process'):
        second.__enter__()
    with RunDirectory(tmp_path).lock():  # free again
        pass


def test_a_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    directory.write_text('result.json', 'old')
    monkeypatch.setattr('os.fsync', lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        directory.write_text('result.json', 'new')
    assert (tmp_path / 'result.json').read_text() == 'old'


def test_a_host_that_is_not_the_first_neither_reads_nor_leaves_a_file(tmp_path):
    directory = RunDirectory(tmp_path / 'run', active=False)
    directory.claim({'seed': 0})
    assert directory.read_result() is None
    assert not (tmp_path / 'run').exists()

    RunDirectory(tmp_path).claim({'seed': 1})
    directory = RunDirectory(tmp_path, active=False)
    directory.check({'seed': 0})
    assert directory.read_object('config.json') is None
