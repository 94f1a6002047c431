"""What another sweep has finished is taken from it, whole, and nothing else."""

import json

import pytest
from ml_collections import ConfigDict

from effxf_jax.runs.directory import InUseError, MismatchError, RunDirectory
from experiments.sweeping import cells, reuse, scheduler, view
from experiments.sweeping.states import read_state


@pytest.fixture
def sweep():
    axes = {'mechanism': ('mechanism=standard',), 'width': cells.values('dim', 8, 12, 16)}
    grid = cells.grid('experiments/arith.py:smoke', axes)
    fields = {'num_seeds': 1, 'side_by_side': 1, 'name': 'test', 'grids': {'tiny': grid}}
    return cells.make_sweep(ConfigDict({**cells.DEFAULTS, **fields}))


def lay(directory, cell, done=False, failure=None):
    run = RunDirectory(directory / cell.name)
    run.claim(cell.experiment.record)
    (run.path / 'checkpoints').mkdir()
    if done:
        run.write_text('result.json', json.dumps({'chain_accuracy': 0.5, 'seed': 0}))
    if failure:
        run.write_text('failure.json', json.dumps(failure))


def test_finished_cells_are_taken_and_no_others(sweep, tmp_path):
    here, there = tmp_path / 'here', tmp_path / 'there'
    finished, unfinished, begun_here = sweep.cells()
    for cell, done in ((finished, True), (unfinished, False), (begun_here, True)):
        lay(there, cell, done)
    lay(here, begun_here, False)
    assert reuse.take(sweep, here, [tmp_path / 'nothing', there]) == [finished.name]
    states = {cell.name: read_state(here, cell) for cell in sweep.cells()}
    assert [state.done for state in states.values()] == [True, False, False]
    assert states[finished.name].results == [{'chain_accuracy': 0.5, 'seed': 0}]
    assert sorted(path.name for path in here.iterdir()) == sorted([finished.name, begun_here.name])
    assert not (here / finished.name / 'checkpoints').exists()
    assert reuse.take(sweep, here, [there]) == []


def test_what_diverged_is_settled_and_what_failed_otherwise_is_not(sweep, tmp_path):
    diverged, failed, finished = sweep.cells()
    lay(tmp_path / 'first', diverged, failure={'error': 'diverged: nan', 'diverged': True})
    lay(tmp_path / 'first', failed, failure={'error': 'no space left'})
    lay(tmp_path / 'first', finished)
    lay(tmp_path / 'second', finished, done=True)
    sources = tmp_path / 'first', tmp_path / 'second'
    assert list(reuse.find(sweep, tmp_path / 'here', sources, also_diverged=False)) == [finished.name]
    assert reuse.take(sweep, tmp_path / 'here', sources) == [diverged.name, finished.name]
    assert read_state(tmp_path / 'here', diverged).diverged
    assert read_state(tmp_path / 'here', finished).done


@pytest.mark.parametrize('name, text', [('config.json', '{"seed": 7}'), ('result.json', '{')])
def test_what_is_another_run_or_damaged_is_refused(sweep, tmp_path, name, text):
    good, bad, _ = sweep.cells()
    for cell in (good, bad):
        lay(tmp_path / 'there', cell, True)
    (tmp_path / 'there' / bad.name / name).write_text(text)
    with pytest.raises(MismatchError):
        reuse.take(sweep, tmp_path / 'here', [tmp_path / 'there'])
    assert not (tmp_path / 'here').exists()


def test_a_copy_that_was_cut_off_is_made_anew(sweep, tmp_path):
    cell = next(sweep.cells())
    lay(tmp_path / 'there', cell, True)
    half = tmp_path / 'here' / f'.{cell.name}.tmp'
    half.mkdir(parents=True)
    (half / 'stray').write_text('')
    assert reuse.take(sweep, tmp_path / 'here', [tmp_path / 'there']) == [cell.name]
    assert [path.name for path in (tmp_path / 'here').iterdir()] == [cell.name]
    assert not list((tmp_path / 'here').rglob('stray'))


@pytest.mark.slow
def test_a_sweep_takes_them_once_it_may_write(sweep, tmp_path):
    for cell in sweep.cells():
        lay(tmp_path / 'there', cell, True)
    run = lambda **options: scheduler.run(
        sweep, tmp_path / 'here', view.TerminalWatcher(sweep), sources=[tmp_path / 'there'], **options
    )
    with pytest.raises(ConnectionError):
        run(address='127.0.0.1:1')
    assert not (tmp_path / 'here').exists()
    (tmp_path / 'here').mkdir()
    with RunDirectory(tmp_path / 'here').lock(), pytest.raises(InUseError):
        run()
    assert [path.name for path in (tmp_path / 'here').iterdir()] == ['.lock']
    assert all(state.done for state in run().values())
    assert (tmp_path / 'here' / 'sweep.json').exists()
