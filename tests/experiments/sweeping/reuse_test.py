"""Settled runs of other sweeps are copied whole, and nothing else is copied."""

import json

import pytest
from ml_collections import ConfigDict

from effxf_jax.runs.directory import InUseError, RunDirectory
from experiments.sweeping import archive, cells, outcomes, reuse, scheduler, view
from experiments.sweeping.outcomes import RecordError
from experiments.sweeping.states import read_state
from tests.experiments.sweeping import small
from tests.experiments.sweeping.small import lay, log, result
from tests.runs import later

DIVERGED = {'error': 'diverged: seed 0: nan', 'diverged': True}


def make_sweep(num_seeds=1, side_by_side=1):
    axes = {'mechanism': ('mechanism=standard',), 'width': cells.values('dim', 8, 12, 16)}
    grid = cells.grid('experiments/arith.py:smoke', axes)
    fields = {'num_seeds': num_seeds, 'side_by_side': side_by_side, 'name': 'test', 'grids': {'tiny': grid}}
    return cells.make_sweep(ConfigDict({**cells.DEFAULTS, **fields}))


@pytest.fixture
def sweep():
    return make_sweep()


def export(sweep, directory):
    """The file of results of a sweep's directory."""
    (directory / 'sweep.json').write_text(json.dumps(sweep.declaration()))
    path = directory.parent / f'{directory.name}.jsonl'
    archive.write(path, outcomes.read_directory(directory))
    return path


def test_finished_cells_are_taken_and_no_others(sweep, tmp_path):
    here, there = tmp_path / 'here', tmp_path / 'there'
    finished, unfinished, begun_here = sweep.cells()
    for cell, done in ((finished, True), (unfinished, False), (begun_here, True)):
        lay(there, cell, done)
    lay(here, begun_here, False)
    (tmp_path / 'nothing').mkdir()
    assert list(reuse.take(sweep, here, [tmp_path / 'nothing', there])) == [finished.name]
    states = {cell.name: read_state(here, cell) for cell in sweep.cells()}
    assert [state.done for state in states.values()] == [True, False, False]
    assert states[finished.name].results == [result(0)]
    assert sorted(path.name for path in here.iterdir()) == sorted([finished.name, begun_here.name])
    assert not (here / finished.name / 'checkpoints').exists()
    assert list(reuse.take(sweep, here, [there])) == []


def test_a_directory_gives_all_its_files_and_a_file_of_results_those_of_the_run(sweep, tmp_path):
    cell = next(sweep.cells())
    run = lay(tmp_path / 'there', cell, done=True)
    (run / 'samples.txt').write_text('2+3=5')
    path = export(sweep, tmp_path / 'there')
    for name, source, kept in (
        ('first', tmp_path / 'there', ['samples.txt']), ('second', path, [])
    ):  # fmt: skip
        assert list(reuse.take(sweep, tmp_path / name, [source])) == [cell.name]
        copy = tmp_path / name / cell.name
        assert sorted(p.name for p in copy.iterdir()) == sorted(
            ['config.json', 'metrics.jsonl', 'result.json', *kept]
        )
        assert json.loads((copy / 'config.json').read_text()) == cell.experiment.record
    steps = [json.loads(line)['step'] for line in (tmp_path / 'second' / cell.name / 'metrics.jsonl').open()]
    assert steps == [1, 100, 150, 200, 300, 350, 400]
    assert (tmp_path / 'first' / cell.name / 'metrics.jsonl').read_text().count('\n') == len(log())


@pytest.mark.parametrize('from_file', [False, True])
@pytest.mark.parametrize(
    'before, after',
    [((4, 2), (2, 1)), ((2, 1), (4, 2)), ((4, 4), (4, 1)), ((4, 1), (4, 4)), ((3, 1), (4, 4))],
)
def test_seeds_are_found_however_they_were_trained_side_by_side(tmp_path, before, after, from_file):
    old, new = make_sweep(*before), make_sweep(*after)
    for cell in old.cells():
        lay(tmp_path / 'there', cell, done=True)
    source = export(old, tmp_path / 'there') if from_file else tmp_path / 'there'
    taken = reuse.take(new, tmp_path / 'here', [source])
    there = {(cell.labels, one.seed) for cell in old.cells() for one in cell.experiment.replicates()}
    for cell in new.cells():
        seeds = [one.seed for one in cell.experiment.replicates()]
        assert (cell.name in taken) == ({(cell.labels, seed) for seed in seeds} <= there)
        state = read_state(tmp_path / 'here', cell)
        assert [found['seed'] for found in state.results] == (seeds if cell.name in taken else [])
        assert state.done == (cell.name in taken)


def test_runs_are_found_by_their_configuration_and_not_by_the_name_of_their_directory(sweep, tmp_path):
    # As an earlier version left them: under other names, with the options of all mechanisms in the record.
    first, second, third = sweep.cells()
    for name, cell in (('arithmetic-standard-0123456789', first), ('strange', second)):
        path = lay(tmp_path / 'there', cell, done=True, name=name)
        record = {**cell.experiment.record}
        record['model'] = {**record['model'], 'block_size': None, 'window': None, 'chunk_size': 64}
        (path / 'config.json').write_text(json.dumps(record))
    assert list(reuse.take(sweep, tmp_path / 'here', [tmp_path / 'there'])) == [first.name, second.name]
    assert [read_state(tmp_path / 'here', cell).done for cell in (first, second, third)] == [
        True,
        True,
        False,
    ]
    # So they are where the sweep goes on in their own directory.
    assert list(reuse.take(sweep, tmp_path / 'there', [])) == [first.name, second.name]
    assert not reuse.take(sweep, tmp_path / 'there', [])


def test_what_cannot_be_read_in_the_sweeps_own_directory_is_left_alone(sweep, tmp_path):
    cell = next(sweep.cells())
    lay(tmp_path, cell, done=True, name='old')
    for name, text in (('aaa', '{'), ('other', '{"task": {"name": "of another sweep"}}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'config.json').write_text(text)
    assert list(reuse.take(sweep, tmp_path, [])) == [cell.name]
    assert (tmp_path / 'aaa' / 'config.json').read_text() == '{'


@pytest.mark.parametrize('from_file', [False, True])
def test_a_later_version_with_new_fields_finds_the_runs(tmp_path, monkeypatch, from_file):
    make = lambda: small.sweep(base='experiments/lis.py:smoke', mechanisms=('linear', 'linear+standard'))
    before = make()
    for cell in before.cells():
        lay(tmp_path / 'there', cell, done=True)
    source = export(before, tmp_path / 'there') if from_file else tmp_path / 'there'
    later.patch(monkeypatch)
    after = make()
    record = next(after.cells()).experiment.record
    assert (record['model']['gate'], record['train']['ema'], record['task']['ties']) == ('none', 0, 'strict')
    found = reuse.find(after, tmp_path / 'here', [source])
    assert list(found) == [cell.name for cell in after.cells()]
    assert [run.experiment for (run,) in found.values()] == [cell.experiment for cell in after.cells()]
    reuse.take(after, tmp_path / 'here', [source])
    assert all(read_state(tmp_path / 'here', cell).done for cell in after.cells())


@pytest.mark.parametrize('from_file', [False, True])
def test_what_diverged_is_settled_and_what_failed_otherwise_is_not(sweep, tmp_path, from_file):
    diverged, failed, finished = sweep.cells()
    lay(tmp_path / 'first', diverged, failure=DIVERGED)
    lay(tmp_path / 'first', failed, failure={'error': 'no space left'})
    lay(tmp_path / 'first', finished)
    lay(tmp_path / 'second', finished, done=True)
    sources = tmp_path / 'first', tmp_path / 'second'
    if from_file:
        sources = [export(sweep, source) for source in sources]
    assert list(reuse.find(sweep, tmp_path / 'here', sources, also_diverged=False)) == [finished.name]
    assert list(reuse.take(sweep, tmp_path / 'here', sources)) == [diverged.name, finished.name]
    assert read_state(tmp_path / 'here', diverged).diverged
    assert read_state(tmp_path / 'here', diverged).error == DIVERGED['error']
    assert read_state(tmp_path / 'here', finished).done


@pytest.mark.parametrize('from_file', [False, True])
def test_a_cell_of_which_one_seed_diverged_is_taken_with_the_results_of_the_others(tmp_path, from_file):
    sweep = make_sweep(2, 2)
    cell = next(sweep.cells())
    path = lay(tmp_path / 'there', cell, done=True)
    for name in ('result.json', 'seed-0/result.json'):
        (path / name).unlink()
    (path / 'failure.json').write_text(json.dumps(DIVERGED))
    source = export(sweep, tmp_path / 'there') if from_file else tmp_path / 'there'
    assert list(reuse.take(sweep, tmp_path / 'here', [source])) == [cell.name]
    assert read_state(tmp_path / 'here', cell) == read_state(tmp_path / 'there', cell)
    # Alone, the other seed is done and needs none of this.
    alone = make_sweep(2, 1)
    assert len(reuse.take(alone, tmp_path / 'alone', [source])) == 2
    states = [read_state(tmp_path / 'alone', cell) for cell in alone.cells()][:2]
    assert [(state.done, state.diverged) for state in states] == [(False, True), (True, False)]


@pytest.mark.parametrize(
    'name, text', [('config.json', '{"seed": 7}'), ('result.json', '{'), ('result.json', '{"loss": 0}')]
)
def test_what_is_no_run_or_damaged_is_refused(sweep, tmp_path, name, text):
    good, bad, _ = sweep.cells()
    for cell in (good, bad):
        lay(tmp_path / 'there', cell, True)
    (tmp_path / 'there' / bad.name / name).write_text(text)
    with pytest.raises(RecordError, match=name):
        reuse.take(sweep, tmp_path / 'here', [tmp_path / 'there'])
    assert not (tmp_path / 'here').exists()


def test_a_copy_that_was_cut_off_is_made_anew(sweep, tmp_path):
    cell = next(sweep.cells())
    lay(tmp_path / 'there', cell, True)
    for directory in ('there', 'here'):
        half = tmp_path / directory / f'.{cell.name}.tmp'
        half.mkdir(parents=True)
        (half / 'config.json').write_text('{')
        (half / 'stray').write_text('')
    assert list(reuse.take(sweep, tmp_path / 'here', [tmp_path / 'there'])) == [cell.name]
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
