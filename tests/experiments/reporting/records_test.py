"""What a sweep has left is read as it stands, and garbage is refused by name."""

import json
import math
import shutil
from dataclasses import replace

import pytest

from experiments.reporting import records
from experiments.reporting.records import RecordError


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


def test_an_export_takes_nothing_away_from_an_earlier_one(made_up, tmp_path):
    files = lambda: {path: path.read_bytes() for path in (tmp_path / 'kept').rglob('*') if path.is_file()}
    records.export(made_up, tmp_path / 'kept')
    before = files()
    # Of a sweep that has not begun any of it, but has another grid.
    fresh = tmp_path / 'fresh'
    fresh.mkdir()
    declared = json.loads((made_up / 'sweep.json').read_text())
    (fresh / 'sweep.json').write_text(json.dumps({'other': declared['lis']}))
    assert records.export(fresh, tmp_path / 'kept') == 0
    after = files()
    (changed,) = (path.name for path in after if after[path] != before.get(path))
    assert changed == 'sweep.json'
    assert after.keys() == before.keys()
    assert list(json.loads((tmp_path / 'kept' / 'sweep.json').read_text())) == ['lis', 'other']


def test_what_is_exported_is_exported_as_it_is(made_up, tmp_path):
    records.export(made_up, tmp_path / 'once')
    records.export(tmp_path / 'once', tmp_path / 'twice')
    logs = [sorted((tmp_path / name).rglob('metrics.jsonl')) for name in ('once', 'twice')]
    assert len(logs[0]) == 99
    for first, second in zip(*logs, strict=True):
        assert first.read_text() == second.read_text()
    # Every hundredth step, the ends, and where something was graded, at 150 and 200.
    steps = [json.loads(line)['step'] for line in logs[0][0].open()]
    assert steps == [1, 100, 150, 200, 250]


def test_what_failed_before_it_began_is_exported_as_failed(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    (failed,) = copy.rglob('failure.json')
    for seed in failed.parent.glob('seed-*'):
        shutil.rmtree(seed)
    assert records.export(copy, tmp_path / 'kept') == 99 + 3 + 3
    errors = lambda path: [run.error for grid in records.read([path]) for run in grid.runs if run.error]
    assert errors(tmp_path / 'kept') == errors(copy) == ['diverged: <loss> is nan'] * 3


def test_what_is_exported_again_is_as_it_is_now(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    records.export(copy, tmp_path / 'kept')
    (failed,) = copy.rglob('failure.json')
    assert (tmp_path / 'kept' / failed.relative_to(copy)).exists()
    failed.unlink()
    records.export(copy, tmp_path / 'kept')
    states = lambda path: [run.state for grid in records.read([path]) for run in grid.runs]
    assert states(tmp_path / 'kept') == states(copy)
    assert 'failed' not in states(copy)


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
        ({'axes': {'mechanism': ['mechanism=linear']}}, 'a cell for every choice'),
        ({'search': True, 'cells': []}, 'a cell for every choice'),
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
