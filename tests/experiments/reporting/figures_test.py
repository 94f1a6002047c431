"""Figures show what was read, whole and beside what it is compared with."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.reporting import analysis, figures, records


def test_the_heat_map_lays_the_papers_values_below(grid):
    figures.style()
    figure = figures.heat_maps(grid)
    below = [axes for axes in figure.axes if axes.get_xticklabels()[0].get_text() == '32']
    assert len(below) == 3
    texts = [text.get_text() for text in below[1].texts]
    assert texts[3] == '78'  # linear, L = 83, D = 256
    figures.plt.close(figure)


def test_the_needed_width_over_locality_has_a_line_for_each_length(others):
    grid, _ = records.read([others])
    assert grid.is_of_localities
    assert [grid.locality(size) for size in grid.axes['size']] == [8, 8, 10, 10]
    figure = figures.width_over_locality(grid, analysis.widths(grid))
    window, linear = figure.axes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['L=39, 42', 'L=78, 79']
    at_both = lambda line: (
        len(line.get_xdata()) == 2 and list(line.get_xdata()) == pytest.approx([8, 10], rel=0.02)
    )
    lines = lambda axis: [line.get_ydata() for line in axis.lines if at_both(line)]
    short, long = lines(window)
    assert short == pytest.approx(long)  # the window's width does not follow length
    assert short[1] / short[0] == pytest.approx(1.5, rel=0.1)
    short, long = lines(linear)
    assert long / short == pytest.approx([np.sqrt(78 / 42), np.sqrt(79 / 39)], rel=0.1)
    figures.plt.close(figure)


def test_the_needed_width_over_blocks_has_a_panel_for_each_kind(others):
    grid, _ = records.read([others])
    assert not grid.is_of_spans
    spans = {
        'mechanism=linear': 'mechanism=sliding_window,window=16',
        'mechanism=sliding_window,window=8': None,
    }
    renamed = lambda name: spans[name] or name
    grid = replace(
        grid,
        axes={**grid.axes, 'mechanism': tuple(map(renamed, grid.axes['mechanism']))},
        runs=tuple(replace(run, labels=(renamed(run.labels[0]), *run.labels[1:])) for run in grid.runs),
    )
    assert grid.is_of_spans
    widths = analysis.widths(grid)
    figure = figures.width_over_span(grid, widths)
    (axis,) = figure.axes
    assert axis.get_title() == 'sliding_window'
    assert axis.get_xticks().tolist() == [8, 16]
    line = next(
        line.get_ydata() for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1
    )
    first = grid.axes['size'][0]
    assert line == pytest.approx(
        [widths.needed[f'mechanism=sliding_window,window={w}', first].width for w in (8, 16)]
    )
    figures.plt.close(figure)


def test_first_errors_are_of_widths_that_all_have(grid):
    figure = figures.first_errors(grid)
    said = [axis.get_xlabel().splitlines()[1:] for axis in figure.axes]
    # Of sparse attention at n = 32 all but the narrowest is missing.
    assert said == [['at D=8, 16, 32, 64'], ['at D=8, 16, 32, 64'], ['at D=8']]
    assert [len(axis.lines) for axis in figure.axes] == [3 + 3, 3, 3]
    figures.plt.close(figure)


def test_a_few_errors_are_told_and_not_drawn(grid):
    few = lambda run: (
        run.result and {**run.result, 'first_errors': [0, 2, 0] if 'linear' in run.labels[0] else [9, 90, 0]}
    )
    figure = figures.first_errors(
        replace(grid, runs=tuple(replace(run, result=few(run)) for run in grid.runs))
    )
    assert figure.axes[0].get_xlabel().splitlines()[2:] == ['linear: 24 wrong rows']
    assert [len(axis.lines) for axis in figure.axes] == [3 + 2, 2, 2]
    figures.plt.close(figure)


def test_learning_curves_are_of_widths_that_have_ended_and_were_graded_twice(grid):
    under_way = lambda run: run.labels == ('mechanism=linear', 'n=32', 'dim=64')
    runs = [replace(run, state='unfinished', result=None) if under_way(run) else run for run in grid.runs]
    figure = figures.learning_curves(replace(grid, runs=tuple(runs)))
    # Sparse attention diverged at 16 before it was graded, and is under way or missing above.
    assert figure.axes[2].get_xlabel().splitlines() == ['step', 'standard: D=64', 'linear: D=32']
    assert len(figure.axes[2].lines) == 2 * 3
    figures.plt.close(figure)
    once = [replace(run, path=run.path / 'without a log') for run in grid.runs]
    figure = figures.learning_curves(replace(grid, runs=tuple(once)))
    assert [axis.get_xlabel() for axis in figure.axes] == ['step\nnone was graded twice'] * 3
    figures.plt.close(figure)


def test_mechanisms_differ_in_their_looks():
    looks = figures.looks_of([f'mechanism={number}' for number in range(50)])
    assert len({tuple(look.values()) for look in looks.values()}) == 50


def test_lines_of_theory_leave_the_corner_of_all_that_is_drawn(grid):
    figure = figures.width_over_length(grid, analysis.widths(grid))
    (axis,) = figure.axes
    slopes = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert list(slopes) == ['slope 0', 'slope 1/4', 'slope 1/2']
    dotted = [line.get_ydata() for line in axis.lines if line.get_linestyle() == ':']
    (least,) = {line[0] for line in dotted}
    assert 0 < least < 14
    growth = 68 / 20 * 1.03 / 0.97
    assert [line[1] / least for line in dotted] == pytest.approx([1, growth**0.25, growth**0.5])
    figures.plt.close(figure)


def test_first_errors_are_shown_whole_though_sizes_share_an_axis(grid):
    figure = figures.first_errors(grid)
    for axis in figure.axes:
        top = max(np.max(line.get_ydata(), initial=0) for line in axis.lines)
        assert axis.get_ylim()[0] == 0
        assert top < axis.get_ylim()[1]
    figures.plt.close(figure)
