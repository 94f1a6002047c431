"""Figures show every run that was read, beside the values for comparison."""

from dataclasses import replace

import pytest

from experiments.reporting import figures, records


def lines(panel, name):
    """The series of a mechanism that are lines."""
    return [series for series in panel.series if series.name == name and series.line]


def test_heat_maps_are_followed_by_those_of_the_paper(grid):
    panels = figures.heat_maps(grid).panels
    titles = ['standard', 'linear', 'sparse']
    assert [panel.title for panel in panels] == [*titles, *(f'{name}: paper, Figure 1' for name in titles)]
    paper = panels[4].heat_map
    assert paper.columns[0] == '32'
    assert paper.values[0][3] == pytest.approx(0.78, abs=0.005)  # linear, L = 83, D = 256
    _, linear, sparse = (panel.heat_map for panel in panels[:3])
    sizes, widths = (8, 16, 32), (8, 16, 32, 64)
    mean = lambda *point: grid.mean_accuracy('mechanism=linear', *point)
    assert linear.values == [[mean(f'n={n}', f'dim={dim}') for dim in widths] for n in sizes]
    # A diverged cell is 0; where nothing is done there is no value.
    assert str(sparse.values[-1][1:]) == '[0.0, nan, nan]'
    assert sparse.hover[-1][-1].endswith('not run')
    assert ', seed 2: ' in linear.hover[0][0]


def test_the_paper_stands_beside_the_accuracy_that_it_reports_and_no_other(grid):
    assert len(figures.heat_maps(replace(grid, metric='answer_accuracy')).panels) == 3


def test_cost_is_that_of_a_forward_pass_at_each_width(grid):
    for panel, size in zip(figures.cost_frontier(grid).panels, grid.axes['size'], strict=True):
        (line,) = lines(panel, 'mechanism=linear')
        runs = [grid.select('mechanism=linear', size, width)[0] for width in grid.axes['width']]
        assert [point.x for point in line.points] == [run.result['forward_flops'] / 1e6 for run in runs]
        means = [grid.mean_accuracy('mechanism=linear', size, width) for width in grid.axes['width']]
        assert [point.y for point in line.points] == means


def test_seeds_that_diverged_are_points_of_the_mean_that_they_pull_down(others):
    _, grid = records.read([others])
    lost = lambda run: run.seed == 1 and run.labels[-1] == 'learning_rate=0.2'
    runs = [
        replace(run, result=None, state='failed', diverged=True) if lost(run) else run for run in grid.runs
    ]
    (panel,) = figures.by_last_axis(replace(grid, runs=tuple(runs))).panels
    mean, seeds = panel.series
    assert [point.y for point in mean.points] == pytest.approx([0.1, 0.1])
    assert sorted((p.x, p.y) for p in seeds.points) == [(0, 0.1), (0, 0.1), (1, 0.0), (1, 0.2)]
    (diverged,) = (point.hover for point in seeds.points if point.y == 0)
    assert 'seed 1' in diverged
    assert 'diverged' in diverged


def test_first_errors_are_of_widths_that_all_have(grid):
    panels = figures.first_errors(grid).panels
    # Of sparse attention at n = 32 all but the narrowest is missing.
    notes = [('widths 8, 16, 32, 64',), ('widths 8, 16, 32, 64',), ('widths 8',)]
    assert [panel.notes for panel in panels] == notes
    assert [len(panel.series) for panel in panels] == [3, 3, 3]
    assert sum(point.y for point in panels[0].series[0].points) == pytest.approx(1)
    top = max(point.y for panel in panels for series in panel.series for point in series.points)
    assert all(panel.y.limits[0] == 0 and top < panel.y.limits[1] for panel in panels)


def test_a_few_errors_are_told_and_not_drawn(grid):
    few = lambda run: (
        run.result and {**run.result, 'first_errors': [0, 2, 0] if 'linear' in run.labels[0] else [9, 90, 0]}
    )
    runs = tuple(replace(run, result=few(run)) for run in grid.runs)
    panels = figures.first_errors(replace(grid, runs=runs)).panels
    assert panels[0].notes[1:] == ('linear: only 24 wrong chains',)
    assert [len(panel.series) for panel in panels] == [2, 2, 2]


def test_learning_curves_are_of_widths_that_have_ended_and_were_graded_twice(grid):
    under_way = lambda run: run.labels == ('mechanism=linear', 'n=32', 'dim=64')
    runs = [replace(run, state='unfinished', result=None) if under_way(run) else run for run in grid.runs]
    panels = figures.learning_curves(replace(grid, runs=tuple(runs))).panels
    # Sparse attention diverged at 16 before it was graded, and is under way or missing above.
    assert panels[2].notes == ('D=64: standard', 'D=32: linear')
    assert len(panels[2].series) == 2 * 3
    assert 'seed 1; linear, n=32, dim=32' in panels[2].series[4].hover


def test_without_a_run_that_was_graded_twice_there_is_no_figure_of_learning_curves(grid):
    once = [replace(run, path=run.path / 'without a log') for run in grid.runs]
    assert figures.learning_curves(replace(grid, runs=tuple(once))) is None


def test_a_size_at_which_nothing_was_done_has_no_panel(grid):
    undone = lambda run: run.labels[1] == 'n=16'
    runs = [replace(run, result=None, state='missing') if undone(run) else run for run in grid.runs]
    less = replace(grid, runs=tuple(runs))
    for draw in (figures.accuracy_over_width, figures.cost_frontier, figures.first_errors):
        assert [panel.title for panel in draw(less).panels] == ['n=8, L=20', 'n=32, L=68']
