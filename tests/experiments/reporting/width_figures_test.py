"""Figures of needed widths lay them over what they may follow, beside slopes of theory."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt

from experiments.reporting import analysis, records, width_figures


def test_the_needed_width_over_locality_has_a_line_for_each_length(others):
    grid, _ = records.read([others])
    assert grid.is_of_localities
    assert [grid.locality(size) for size in grid.axes['size']] == [8, 8, 10, 10]
    figure = width_figures.width_over_locality(grid, analysis.widths(grid))
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
    plt.close(figure)


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
    figure = width_figures.width_over_span(grid, widths)
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
    plt.close(figure)


def test_lines_of_theory_leave_the_corner_of_all_that_is_drawn(grid):
    figure = width_figures.width_over_length(grid, analysis.widths(grid))
    (axis,) = figure.axes
    slopes = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert list(slopes) == ['slope 0', 'slope 1/4', 'slope 1/2']
    dotted = [line.get_ydata() for line in axis.lines if line.get_linestyle() == ':']
    (least,) = {line[0] for line in dotted}
    assert 0 < least < 14
    growth = 68 / 20 * 1.03 / 0.97
    assert [line[1] / least for line in dotted] == pytest.approx([1, growth**0.25, growth**0.5])
    plt.close(figure)


def test_a_width_that_is_lost_again_is_crossed_out_and_its_interval_open_above(reaching):
    grid = reaching(0.1, 'mechanism=linear', 'n=16', 'dim=64')
    figure = width_figures.width_over_length(grid, analysis.widths(grid))
    (axis,) = figure.axes
    crosses = [line.get_xydata().tolist() for line in axis.lines if line.get_marker() == 'x']
    assert crosses == [[[36, 32]]]
    bars = [line.get_ydata() for line in axis.lines if list(line.get_xdata()) == [36, 36]]
    assert [16, pytest.approx(64 * 1.1)] in [list(bar) for bar in bars]
    plt.close(figure)


def test_widths_are_drawn_over_their_bounds_and_open_where_they_are_at_most_that(reaching):
    grid = reaching(0.95, 'mechanism=linear', 'n=8')
    widths = analysis.widths(grid)
    figure = width_figures.over_bound(grid, widths)
    (axis,) = figure.axes
    standard, linear, at_most, sparse = axis.lines
    assert [line.get_label() for line in (standard, linear, sparse)] == ['standard', 'linear', 'sparse']
    least = widths.needed['mechanism=linear', 'n=8'].most
    assert least == 8
    ratio = least / widths.bounds['mechanism=linear', 'n=8']
    assert linear.get_xydata()[0].tolist() == at_most.get_xydata()[0].tolist() == [20, ratio]
    assert at_most.get_markerfacecolor() == 'white'
    needed = widths.needed['mechanism=linear', 'n=32'].width
    assert linear.get_ydata()[-1] == needed / widths.bounds['mechanism=linear', 'n=32']
    assert list(sparse.get_xdata()) == [20, 36]  # at n = 32 the width is beyond
    plt.close(figure)
