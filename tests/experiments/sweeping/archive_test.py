"""A file of results holds all that reports and other sweeps read, and invalid lines are refused by number."""

import json
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from effxf_jax.runs.experiment import Experiment
from experiments.sweeping import archive, outcomes
from experiments.sweeping.outcomes import RecordError
from tests.experiments.sweeping import small


@pytest.fixture(scope='module')
def sweep():
    return small.sweep(widths=(8, 12, 16), mechanisms=('standard', 'linear'), num_seeds=2, side_by_side=2)


@pytest.fixture(scope='module')
def directory(sweep, tmp_path_factory):
    """Three cells done, one diverged, one under way and one missing."""
    directory = tmp_path_factory.mktemp('sweeps') / 'tiny'
    *done, diverged, under_way, _ = sweep.cells()
    for cell in done:
        small.lay(directory, cell, done=True)
    small.lay(directory, diverged, failure={'error': 'diverged: the loss is nan', 'diverged': True})
    small.lay(directory, under_way)
    (directory / 'sweep.json').write_text(json.dumps(sweep.declaration()))
    return directory


@pytest.fixture
def grid(directory):
    (grid,) = outcomes.read_directory(directory)
    return grid


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'results' / 'tiny.jsonl'


def changed(grid, where, **fields):
    """The grid, where the runs at a place of the grid's order have other fields."""
    return replace(
        grid, runs=tuple(replace(r, **fields) if i in where else r for i, r in enumerate(grid.runs))
    )


def without(run, *names):
    return {name: value for name, value in vars(run).items() if name not in names}


def test_what_is_written_is_read(grid, path):
    archive.write(path, [grid])
    (read,) = archive.read(path)
    assert without(read, 'runs') == without(grid, 'runs')
    assert [run.state for run in read.runs] == (
        ['done'] * 6 + ['failed'] * 2 + ['unfinished'] * 2 + ['missing'] * 2
    )
    for run, expected in zip(read.runs, grid.runs, strict=True):
        assert without(run, 'path', 'kept_log', 'log') == without(expected, 'path', 'kept_log', 'log')
    assert read.runs[0].result['first_errors'] == [0, 3, 1]


def test_a_log_is_thinned_to_every_hundredth_step_its_ends_and_where_something_was_graded(grid, path):
    archive.write(path, [grid])
    (read,) = archive.read(path)
    log = read.runs[0].log
    assert [line['step'] for line in log] == [1, 100, 150, 200, 300, 350, 400]
    assert log[4] == {'step': 300, 'loss': 0.0033333, 'grad_norm': 1.0}
    assert log[2] == {'step': 150, 'loss': 0.0066667, 'grad_norm': 1.0, 'chain_accuracy': 0.25}


def test_a_line_is_a_run_and_needs_no_other(grid, path):
    archive.write(path, [grid])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(*line['labels'].values(), line['seed']) for line in lines] == [
        (f'mechanism={mechanism}', f'dim={dim}', seed)
        for mechanism in ('standard', 'linear') for dim in (8, 12, 16) for seed in (0, 1)
    ]  # fmt: skip
    first = lines[1]
    assert list(first) == [
        'grid', 'task', 'metric', 'target', 'search', 'labels', 'name', 'cell', 'seed', 'state', 'config',
        'result', 'curve', 'evaluations',
    ]  # fmt: skip
    experiment = Experiment.from_difference(first['config'])
    assert (experiment.name, experiment.seed, experiment.train.num_replicates) == (first['name'], 1, 1)
    assert first['evaluations'] == {'step': [150, 350], 'chain_accuracy': [0.25, 0.25]}
    assert set(lines[-1]) == set(first) - {'name', 'config', 'result', 'curve', 'evaluations'}


def test_what_is_read_is_written_as_it_was(grid, path, tmp_path):
    archive.write(path, [grid])
    text = path.read_bytes()
    archive.write(path, archive.read(path))
    archive.write(tmp_path / 'again.jsonl', archive.read(path))
    assert path.read_bytes() == (tmp_path / 'again.jsonl').read_bytes() == text
    assert {p.name for p in path.parent.iterdir()} == {path.name, f'.{path.name}.lock'}


def test_a_line_changes_only_when_its_run_does(grid, path):
    archive.write(path, [grid])
    before = path.read_text().splitlines()
    archive.write(path, [changed(grid, {8}, state='done', result=small.result(0))])
    after = path.read_text().splitlines()
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [8]


def test_a_number_that_is_not_finite_is_null(grid, path):
    log = small.log(5)
    log[-1] = {**log[-1], 'loss': math.nan, 'grad_norm': math.inf}
    result = {**small.result(0), 'teacher_forced_loss': math.nan}
    archive.write(path, [changed(grid, {0}, path=None, kept_log=tuple(log), result=result)])
    line = path.read_text().partition('\n')[0]
    assert json.loads(line, parse_constant=lambda word: pytest.fail(word))['curve']['loss'][-1] is None
    (read,) = archive.read(path)
    assert math.isnan(read.runs[0].log[-1]['loss'])


def test_what_failed_before_it_began_is_kept_as_failed(grid, path):
    archive.write(path, [changed(grid, {6, 7}, experiment=None, diverged=False, path=None)])
    (read,) = archive.read(path)
    assert [(run.state, run.error) for run in read.runs[6:8]] == [('failed', 'diverged: the loss is nan')] * 2


def test_nothing_is_lost_to_a_sweep_that_has_begun_nothing_of_it(grid, path):
    archive.write(path, [grid])
    text = path.read_text()
    fields = {'error': None, 'diverged': False, 'experiment': None, 'result': None}
    fresh = changed(grid, range(12), state='missing', **fields)
    archive.write(path, [fresh, replace(fresh, name='other')])
    assert path.read_text().startswith(text)
    assert [found.name for found in archive.read(path)] == ['tiny', 'other']
    assert {run.state for run in archive.read(path)[1].runs} == {'missing'}


def test_the_newer_state_is_kept_but_what_is_done_stays_so(grid, path):
    archive.write(path, [grid])
    newer = changed(grid, {0, 6, 7}, state='unfinished', error=None, diverged=False, result=None)
    newer = changed(newer, {8}, state='done', result=small.result(0))
    archive.write(path, [newer])
    (read,) = archive.read(path)
    states = [run.state for run in read.runs]
    assert states == ['done'] * 6 + ['unfinished'] * 2 + ['done', 'unfinished'] + ['missing'] * 2
    assert read.runs[0].result == grid.runs[0].result


def test_a_curve_is_not_lost_to_a_result_without_one(grid, path):
    archive.write(path, [grid])
    text = path.read_text()
    archive.write(path, [changed(grid, range(12), path=None, kept_log=())])
    assert path.read_text() == text


def test_a_grid_that_has_grown_keeps_its_cells_and_its_order(grid, path):
    archive.write(path, [replace(grid, axes={**grid.axes, 'width': ('dim=8',)}, runs=at(grid, 'dim=8'))])
    archive.write(path, [replace(grid, target=0.95)])
    (read,) = archive.read(path)
    assert (read.axes, read.target) == (grid.axes, 0.95)
    assert [run.labels for run in read.runs] == [run.labels for run in grid.runs]


def at(grid, width):
    return tuple(run for run in grid.runs if run.labels[1] == width)


def test_of_a_search_what_no_step_asks_for_is_not_needed(grid, path):
    # Of linear attention width 8 falls short and 12 is under way, so that 16 is not asked for yet.
    archive.write(path, [replace(grid, search=True)])
    states = lambda: [run.state for run in archive.read(path)[0].runs[6:]]
    assert states() == ['failed'] * 2 + ['unfinished'] * 2 + ['not needed'] * 2
    shorter = changed(grid, {8, 9}, state='done', result=small.result(0))
    archive.write(path, [replace(shorter, search=True)])
    assert states() == ['failed'] * 2 + ['done'] * 2 + ['missing'] * 2


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda grid, other: other,
            'at .*, dim=8 the file has .*, which is done; the new run .* has another',
        ),
        (
            lambda grid, other: replace(grid, task='lis'),
            'the file has a grid of arithmetic over .* is of lis over',
        ),
        (lambda grid, other: replace(grid, axes={'a': (), 'b': ()}), 'over mechanism, width; .* over a, b'),
        (
            lambda grid, other: replace(
                grid,
                axes={'mechanism': ('mechanism=sparse',), 'width': ('dim=99',)},
                runs=(replace(grid.runs[-1], labels=('mechanism=sparse', 'dim=99')),),
            ),
            'a cell for every choice of one value from each axis',
        ),
    ],
)
def test_what_would_take_the_place_of_other_runs_is_refused(grid, path, change, message):
    archive.write(path, [grid])
    text = path.read_bytes()
    longer = small.sweep((8, 12, 16), ('standard', 'linear'), num_seeds=2, side_by_side=2)
    steps = {c.name: c.experiment for c in longer.cells()}
    experiment = next(iter(steps.values())).replicates()[0]
    train = replace(experiment.train, steps=500)
    other = changed(grid, {0}, experiment=replace(experiment, train=train))
    with pytest.raises(RecordError, match=message):
        archive.write(path, [change(grid, other)])
    assert path.read_bytes() == text


def edited(change):
    """An edit of a file's first line, as an object."""

    def edit(lines):
        first = json.loads(lines[0])
        change(first)
        return [json.dumps(first).encode(), *lines[1:]]

    return edit


@pytest.mark.parametrize(
    'edit, message',
    [
        (lambda lines: [*lines, b'\x00\xff\xfe'], 'line 13 is not text'),
        (lambda lines: [*lines, b''], 'line 13 is not JSON'),
        (lambda lines: [b'[' * 100_000, *lines], 'line 1 is nested too deeply'),
        (lambda lines: [b'<<<<<<< HEAD', *lines], 'line 1 is not JSON'),
        (lambda lines: [b'[1]', *lines], 'line 1 must hold an object'),
        (lambda lines: [*lines, lines[0]], 'line 13: an earlier line has seed 0 at .*, dim=8 too'),
        (lambda lines: lines[2:], 'a cell for every choice'),
        (edited(lambda line: line.pop('cell')), 'line 1: cell is missing'),
        (edited(lambda line: line.update(colour='red')), "line 1: unknown field 'colour'"),
        (edited(lambda line: line.update(seed='0')), "line 1: seed must be a whole number; got '0'"),
        (edited(lambda line: line.update(seed=True)), 'line 1: seed must be a whole number; got True'),
        (edited(lambda line: line.update(state='over')), 'line 1: state must be one of done, failed'),
        (edited(lambda line: line.pop('result')), 'line 1: result is missing where state is done'),
        (edited(lambda line: line.update(error='x')), 'line 1: error is given where state is done'),
        (edited(lambda line: line.update(state='failed')), 'line 1: error is missing .*; result is given'),
        (edited(lambda line: line.update(seed=1)), 'config is that of .* seed 0, task arithmetic; .* seed 1'),
        (edited(lambda line: line['config'].update({'model.dim': 12})), 'is not the name of a run with this'),
        (edited(lambda line: line['result'].pop('num_params')), 'line 1: result .* no num_params'),
        (edited(lambda line: line['result'].update(chain_accuracy=2)), 'it has chain_accuracy 2'),
        (edited(lambda line: line['result'].update(devices=2)), 'it has devices 2'),
        (edited(lambda line: line['curve']['loss'].pop()), 'curve: loss must be as long as step, 7; got 6'),
        (edited(lambda line: line['curve']['step'].reverse()), 'step must hold increasing whole numbers'),
        (edited(lambda line: line['curve'].update(loss=['x'] * 7)), 'curve: loss must hold numbers'),
        (edited(lambda line: line['curve'].update(loss=[10**400] * 7)), 'curve: loss must hold numbers'),
        (edited(lambda line: line['curve'].pop('step')), 'curve must hold lists of numbers, with one'),
        (edited(lambda line: line['evaluations'].update(step=[7, 8])), 'curve lacks step 7'),
        (edited(lambda line: line.update(target=0.5)), 'line 2: target is 0.9, and 0.5 in earlier lines'),
        (edited(lambda line: line['labels'].update(width=8)), 'line 1: labels must be texts; got 8'),
        (edited(lambda line: line.update(cell='\ud800')), 'line 1 is not text'),
    ],
)  # fmt: skip
def test_garbage_is_refused_by_file_and_line(grid, path, edit, message):
    archive.write(path, [grid])
    lines = path.read_bytes().splitlines()
    path.write_bytes(b'\n'.join(edit(lines)) + b'\n')
    with pytest.raises(RecordError, match=f'tiny.jsonl.*{message}'):
        archive.read(path)


def test_writers_at_the_same_time_lose_no_lines(grid, path, monkeypatch):
    archive.write(path, [grid])
    read = archive.read

    def read_slowly(path):
        grids = read(path)
        time.sleep(0.1)  # in which another writer would write
        return grids

    monkeypatch.setattr(archive, 'read', read_slowly)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: archive.write(path, [replace(grid, name=name)]), 'abc'))
    assert {grid.name for grid in read(path)} == {'tiny', *'abc'}


@pytest.mark.parametrize('field, value', [('metric', 'loss'), ('target', 0), ('target', 2)])
def test_a_grid_of_which_no_report_can_be_made_is_refused(grid, path, field, value):
    with pytest.raises(RecordError, match=f'tiny.jsonl, tiny: {field} must be'):
        archive.write(path, [replace(grid, **{field: value})])
    assert not path.exists()


def test_a_search_of_which_cells_have_other_seeds_is_refused(grid, path):
    archive.write(path, [replace(grid, runs=grid.runs[1:])])  # as may be where nothing is searched
    with pytest.raises(RecordError, match='every cell of a search must have the same seeds'):
        archive.write(path, [replace(grid, runs=grid.runs[2:], search=True)])
    assert not archive.read(path)[0].search


@pytest.mark.parametrize('fields', [{'error': 5}, {'cell': '\ud800'}, {'seed': -1}])
def test_what_could_not_be_read_again_is_not_written(grid, path, fields):
    with pytest.raises(RecordError, match='tiny.jsonl, line'):
        archive.write(path, [changed(grid, {6}, **fields)])
    assert not path.exists()


@pytest.mark.parametrize('kept', [0, 1000, -1])
def test_a_file_that_is_cut_off_is_refused(grid, path, kept):
    archive.write(path, [grid])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RecordError, match=f'line {12 if kept < 0 else 1} is cut off'):
        archive.read(path)


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(grid, path):
    archive.write(path, [replace(grid, axes={**grid.axes, 'width': ('dim=8',)}, runs=at(grid, 'dim=8'))])
    text = path.read_bytes()
    generator = random.Random(0)
    pieces = [
        b'0',
        b'-',
        b'"',
        b'{',
        b']',
        b'\n',
        b'\\u',
        b'\xff',
        b'null',
        b'1e999',
        b'NaN',
        b'true',
        b'[]',
        b'9',
    ]
    refused = 0
    for _ in range(500):
        changed = bytearray(text)
        for _ in range(generator.randint(1, 3)):
            start = generator.randrange(len(changed))
            changed[start : start + generator.randint(0, 3)] = generator.choice(pieces)
        path.write_bytes(changed)
        try:
            archive.read(path)
        except RecordError:
            refused += 1
    assert refused > 250  # a digit of a curve may change and nobody can tell


def test_whatever_is_put_in_the_place_of_a_value_the_file_is_read_or_refused(grid, path):
    archive.write(path, [replace(grid, axes={**grid.axes, 'width': ('dim=8',)}, runs=at(grid, 'dim=8'))])
    lines = path.read_text().splitlines()
    values = [None, True, -1, 10**400, 1e308, math.nan, '', 'x', [], [1], {}, {'step': 1}, {'step': [1]}]
    line = json.loads(lines[0])
    places = [(name,) for name in line]
    places += [(name, inner) for name, value in line.items() if isinstance(value, dict) for inner in value]
    refused = 0
    for *outer, name in places:
        for value in values:
            edit = json.loads(lines[0])
            (edit[outer[0]] if outer else edit)[name] = value
            path.write_text('\n'.join([json.dumps(edit), *lines[1:]]) + '\n')
            try:
                archive.write(path.parent / 'again.jsonl', archive.read(path))
            except RecordError:
                refused += 1
            (path.parent / 'again.jsonl').unlink(missing_ok=True)
    assert refused > 0.8 * len(places) * len(values)
