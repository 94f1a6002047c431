"""The runs of a sweep are read as they were written, and invalid files are refused by name."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from absl import logging

from experiments.reporting import records
from experiments.reporting.records import RecordError
from experiments.sweeping import archive


def test_runs_are_read_with_their_state(grid):
    states = [run.state for run in grid.runs]
    assert states == ['done'] * 99 + ['failed'] * 3 + ['unfinished'] * 3 + ['missing'] * 3
    assert {run.error for run in grid.runs if run.state == 'failed'} == {'diverged: <loss> is nan'}
    assert grid.task == 'lis'
    assert [grid.length('mechanism=linear', size) for size in grid.axes['size']] == [20, 36, 68]
    assert grid.lengths('n=16') == [36]


def test_runs_that_diverged_count_as_nothing_learnt_and_others_that_have_not_ended_not_at_all(grid):
    curve = grid.curve('mechanism=sparse', 'n=32')
    assert curve.widths.tolist() == [8, 16]
    assert curve.accuracy[:, 1].tolist() == [0, 0, 0]
    assert grid.mean_accuracy('mechanism=sparse', 'n=32', 'dim=16') == 0
    otherwise = replace(grid, runs=tuple(replace(run, diverged=False) for run in grid.runs))
    assert otherwise.curve('mechanism=sparse', 'n=32').widths.tolist() == [8]
    assert math.isnan(otherwise.mean_accuracy('mechanism=sparse', 'n=32', 'dim=16'))


def test_what_a_search_can_do_without_is_not_missing(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    declared = json.loads((copy / 'sweep.json').read_text())
    declared['lis']['search'] = True
    (copy / 'sweep.json').write_text(json.dumps(declared))
    (grid,) = records.read([copy])
    for run in grid.runs:
        if run.labels in (('mechanism=standard', 'n=8', 'dim=64'), ('mechanism=sparse', 'n=32', 'dim=32')):
            shutil.rmtree(run.path.parent, ignore_errors=True)
    (grid,) = records.read([copy])
    state = lambda *labels: {run.state for run in grid.select(*labels)}
    assert state('mechanism=standard', 'n=8', 'dim=64') == {'not needed'}
    # 8 and 16 do not reach it, so that 32 is next, and 64 not asked for yet.
    assert state('mechanism=sparse', 'n=32', 'dim=32') == {'missing'}
    assert state('mechanism=sparse', 'n=32', 'dim=64') == {'not needed'}


def test_a_log_that_a_kill_has_torn_is_read_to_the_last_whole_line(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    path = next(copy.rglob('seed-1/metrics.jsonl'))
    with path.open('a') as file:
        file.write('{"step": 25')
    (grid,) = records.read([copy])
    (run,) = (run for run in grid.runs if run.path == path.parent)
    assert [line['step'] for line in run.log] == list(range(1, 251))


def test_a_file_of_results_is_read_like_the_directory(made_up, others, tmp_path):
    for directory in (made_up, others):
        grids = records.read([directory])
        path = tmp_path / f'{directory.name}.jsonl'
        archive.write(path, grids)
        for read, grid in zip(records.read([path]), grids, strict=True):
            assert (read.sweep, read.name, read.axes) == (grid.sweep, grid.name, grid.axes)
            found = [(run.labels, run.seed, run.state, run.error, run.result, run.name) for run in read.runs]
            assert found == [(r.labels, r.seed, r.state, r.error, r.result, r.name) for r in grid.runs]
            assert {run.path for run in read.runs} == {None}
            # Every hundredth step, the ends, and where something was graded, at 150 and 200.
            assert [line['step'] for line in read.runs[0].log] == [1, 100, 150, 200, 250]


@pytest.mark.parametrize(
    'name, message', [('none', 'neither the directory of a sweep nor a file NAME.jsonl')]
)
def test_what_is_neither_is_refused(tmp_path, name, message):
    with pytest.raises(RecordError, match=message):
        records.read([tmp_path / name])


@pytest.mark.parametrize('line', ['[1]', '{"loss": 1}', '{"step": 1, "loss": "x"}', '', '\0' * 40])
def test_a_line_of_a_log_that_cannot_be_read_is_omitted_and_nothing_else(
    made_up, tmp_path, line, monkeypatch
):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    path = next(copy.rglob('seed-1/metrics.jsonl'))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join([*lines[:100], line + '\n', *lines[100:]]))
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda text, *values: warnings.append(text % values))
    (grid,) = records.read([copy])
    (run,) = (run for run in grid.runs if run.path == path.parent)
    assert [line['step'] for line in run.log] == list(range(1, 251))
    assert warnings == [f'{path}: unreadable lines are omitted: 101.']


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('sweep.json', None, 'has no sweep.json'),
        ('sweep.json', '{"a": 1}', 'does not declare a sweep'),
        ('sweep.json', 'x', 'is not JSON'),
        ('sweep.json', '[]', 'must hold an object'),
        ('config.json', '{"seed": 0}', 'is not the configuration of a run'),
        ('result.json', '{"loss": 0}', 'is not the result of a run: no answer_accuracy, chain_accuracy'),
        ('result.json', '{"chain', 'is not JSON'),
        ('config.json', None, 'has the result of a run, but no config.json'),
    ],
)
def test_garbage_is_refused_by_name(made_up, tmp_path, name, content, message):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    path = copy / name if name == 'sweep.json' else next(copy.rglob(f'seed-1/{name}'))
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=message):
        records.read([copy])


@pytest.mark.parametrize(
    'change, message',
    [
        ({'metric': 'loss'}, 'metric must be one of answer_accuracy, .*; got .loss'),
        ({'axes': {'mechanism': ['mechanism=linear']}}, 'there must be two axes or more; got .*mechanism'),
        ({'search': True, 'cells': []}, 'a cell for every choice'),
        ({'target': 'high'}, 'target must be above 0 and at most 1; got .high'),
        ({'search': 1}, 'search must be true or false; got 1'),
        ({'task': None}, "does not declare a sweep: KeyError: 'task'"),
    ],
)
def test_a_declaration_of_which_no_figure_can_be_made_is_refused(made_up, tmp_path, change, message):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    declared = json.loads((copy / 'sweep.json').read_text())
    declared['lis'] |= change
    declared['lis'] = {name: value for name, value in declared['lis'].items() if value is not None}
    (copy / 'sweep.json').write_text(json.dumps(declared))
    with pytest.raises(RecordError, match=message):
        records.read([copy])
