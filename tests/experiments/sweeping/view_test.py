"""The output of a sweep shows the states of its cells."""

import io
import re

import pytest
from ml_collections import ConfigDict
from rich.console import Console

from experiments.sweeping import cells, view
from experiments.sweeping.states import State
from experiments.sweeping.worker import Event


@pytest.fixture
def sweep():
    axes = {'mechanism': ('mechanism=standard', 'mechanism=linear'), 'width': cells.values('dim', 8, 12)}
    grid = cells.grid('experiments/arith.py:smoke,steps=100', axes)
    return cells.make_sweep(ConfigDict({**cells.DEFAULTS, 'name': 'test', 'grids': {'tiny': grid}}))


def done(*accuracies):
    return State([{'seed': i, 'answer_accuracy': a} for i, a in enumerate(accuracies)], True)


TO_RUN = State([], False)


def watch(sweep, terminal, height=50):
    out = io.StringIO()
    size = {'width': 150, 'height': height}
    console = Console(file=out, force_terminal=terminal, **size, color_system=None, highlight=False)
    watcher = view.TerminalWatcher(sweep, console)
    return watcher, out


def test_the_heat_map_shows_accuracies_progress_and_failures(sweep):
    watcher, out = watch(sweep, True)
    first, second, third, fourth = sweep.cells()
    with watcher:
        watcher.found(first, done(0.9, 1.0))
        for cell in (second, third, fourth):
            watcher.found(cell, TO_RUN)
            watcher.submitted(cell)
        watcher.progressed(second, Event(second.name, 40))
        watcher.progressed(third, Event(third.name, 50, {'answer_accuracy': 0.25}))
        assert watcher.counts().startswith('1 of 4 cells done, 2 running, 1 waiting')
        watcher.refresh()
        rows = [
            line.split() for line in out.getvalue().splitlines() if 'standard' in line or 'linear' in line
        ]
        assert rows[-2:] == [['standard', '0.95', '40%'], ['linear', '0.25…', '·']]
        watcher.ended(fourth, State([], False, 'diverged'))
        watcher.refresh()
    (last,) = [line.split() for line in out.getvalue().splitlines() if 'linear' in line][-1:]
    assert last == ['linear', '0.25…', 'failed']
    assert '1 failed' in watcher.counts()


def test_of_a_search_those_cells_are_counted_that_it_has_asked_for():
    axes = {'mechanism': ('mechanism=standard',), 'width': cells.values('dim', 8, 12, 16, 20)}
    grid = cells.grid('experiments/arith.py:smoke,steps=100', axes, search=True)
    sweep = cells.make_sweep(ConfigDict({**cells.DEFAULTS, 'name': 'test', 'grids': {'tiny': grid}}))
    watcher, _ = watch(sweep, False)
    narrow, middle, *_ = sweep.cells()
    watcher.found(narrow, done(0.5))
    watcher.submitted(middle)
    watcher.progressed(middle, Event(middle.name, 0))
    watcher.progressed(middle, Event(middle.name, 40))
    assert watcher.counts().startswith('1 of 2 cells done, 1 running, at least ')
    watcher.ended(middle, done(0.95))
    assert watcher.counts() == '2 of 2 cells done, 0 running'


def test_copies_are_counted_in_a_line(sweep):
    for terminal in True, False:
        watcher, out = watch(sweep, terminal)
        with watcher:
            watcher.copied([])
            watcher.copied(['new'])
            watcher.copied(['new', 'newer'])
        assert re.findall('[0-9] cells? .* copied .*', out.getvalue()) == [
            '1 cell was copied from settled runs of the same configuration',
            '2 cells were copied from settled runs of the same configuration',
        ]


def test_an_error_before_anything_is_known_is_not_hidden(sweep):
    watcher, out = watch(sweep, True)
    with pytest.raises(ConnectionError, match='no cluster'), watcher:
        raise ConnectionError('no cluster')
    assert '0 of 4 cells done' in out.getvalue()


def test_a_low_screen_shows_the_grids_that_are_under_way_and_all_at_the_end():
    axes = {'mechanism': ('mechanism=standard', 'mechanism=linear'), 'width': ('dim=8',)}
    grids = {name: cells.grid(f'experiments/arith.py:smoke,n={n}', axes) for name, n in (('a', 2), ('b', 3))}
    sweep = cells.make_sweep(ConfigDict({**cells.DEFAULTS, 'name': 'test', 'grids': grids}))
    titles = lambda out: [line.strip() for line in out.getvalue().splitlines() if 'answer_accuracy' in line]
    for height, expected in ((9, ['a', 'b']), (8, ['b'])):
        watcher, out = watch(sweep, True, height)
        with watcher:
            watcher.submitted(next(cell for cell in sweep.cells() if cell.grid == 'b'))
            watcher.refresh()
            assert titles(out) == [f'{name}: answer_accuracy' for name in expected]
        assert titles(out)[-2:] == ['a: answer_accuracy', 'b: answer_accuracy']


def test_a_log_has_a_line_for_each_end(sweep):
    watcher, out = watch(sweep, False)
    first, second, *rest = sweep.cells()
    with watcher:
        for cell in (first, second, *rest):
            watcher.found(cell, TO_RUN)
            watcher.submitted(cell)
        watcher.ended(first, done(0.5, 0.7, 0.6))
        watcher.ended(second, State([], False, 'diverged: the [loss] is nan'))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith(f'tiny standard dim=8 ({first.name}): 0.600; 1 of 4 cells done')
    assert f'({second.name}): failed: diverged: the [loss] is nan; 1 of 4 cells done' in lines[1]
    assert len(lines) == 2


def test_the_time_left_is_what_is_left_at_the_speed_so_far(sweep, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(view.time, 'monotonic', lambda: now[0])
    watcher, _ = watch(sweep, False)
    first, second, *_ = sweep.cells()
    for cell in (first, second):
        watcher.found(cell, TO_RUN)
        watcher.submitted(cell)
    assert 'left' not in watcher.counts()
    now[0] += 600
    watcher.progressed(first, Event(first.name, None))
    watcher.progressed(first, Event(first.name, 20))  # resumed there: these steps took no time today
    watcher.progressed(first, Event(first.name, 21))
    assert 'left' not in watcher.counts()  # so far most of the time has gone into starting
    now[0] += 300
    assert 'left' in watcher.counts()  # this can no longer be the start
    now[0] -= 300
    watcher.progressed(first, Event(first.name, 60))
    # 40 steps of the first in ten minutes; 40 of them and 100 of the second, somewhat wider, are left.
    ratio = second.relative_time / first.relative_time
    assert 1 < ratio < 2
    minutes = round(10 + 25 * ratio)
    assert watcher.counts().endswith(f'{minutes} min left')
    # A failure leaves less to do, and has made no more steps than were told.
    watcher.ended(second, State([], False, 'died'))
    assert watcher.counts().endswith('1 failed, 10 min left')


def test_runs_of_no_updates_take_no_time():
    axes = {'mechanism': ('mechanism=standard',), 'steps': ('steps=0,warmup_steps=0', 'steps=100')}
    grid = cells.grid('experiments/arith.py:smoke', axes)
    sweep = cells.make_sweep(ConfigDict({**cells.DEFAULTS, 'name': 'test', 'grids': {'tiny': grid}}))
    watcher, out = watch(sweep, False)
    first, _ = sweep.cells()
    with watcher:
        for cell in sweep.cells():
            watcher.found(cell, TO_RUN)
            watcher.submitted(cell)
        watcher.ended(first, done(0.5))
    assert out.getvalue().endswith('0.500; 1 of 2 cells done, 0 running, 1 waiting\n')
