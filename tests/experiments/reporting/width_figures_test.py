"""Figures of needed widths are drawn over length, locality or span, with the slopes and bounds of theory."""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiments.reporting import analysis, records, width_figures
from experiments.reporting.looks import look_of
from experiments.reporting.width_and_cost import width_and_cost

LINEAR = 'mechanism=linear'


def at_both(panel):
    """The values of lines between two places, in the order of lengths."""
    return [
        [p.y for p in series.points] for series in panel.series if series.line and len(series.points) == 2
    ]


def test_the_needed_width_over_locality_has_a_line_for_each_length(others):
    grid, _ = records.read([others])
    assert grid.is_of_localities
    assert [grid.locality(size) for size in grid.axes['size']] == [8, 8, 10, 10]
    chart = width_figures.width_over_locality(grid, analysis.widths(grid))
    window, linear = chart.panels
    assert [key.name for key in chart.keys] == ['L=39, 42', 'L=78, 79']
    assert {series.colour for series in linear.series} == {look_of(LINEAR).colour}
    short, long = map(np.array, at_both(window))
    assert short == pytest.approx(long)  # the window's width does not follow length
    assert short[1] / short[0] == pytest.approx(1.5, rel=0.1)
    short, long = map(np.array, at_both(linear))
    assert long / short == pytest.approx([np.sqrt(78 / 42), np.sqrt(79 / 39)], rel=0.1)


def test_the_needed_width_over_blocks_has_a_panel_for_each_kind(others):
    grid, _ = records.read([others])
    assert not grid.is_of_spans
    spans = {LINEAR: 'mechanism=sliding_window,window=16', 'mechanism=sliding_window,window=8': None}
    renamed = lambda name: spans[name] or name
    grid = replace(
        grid,
        axes={**grid.axes, 'mechanism': tuple(map(renamed, grid.axes['mechanism']))},
        runs=tuple(replace(run, labels=(renamed(run.labels[0]), *run.labels[1:])) for run in grid.runs),
    )
    assert grid.is_of_spans
    widths = analysis.widths(grid)
    (panel,) = width_figures.width_over_span(grid, widths).panels
    assert panel.title == 'sliding window'
    assert panel.x.ticks == [8, 16]
    first = grid.axes['size'][0]
    needed = [widths.needed[f'mechanism=sliding_window,window={w}', first].width for w in (8, 16)]
    assert at_both(panel)[0] == pytest.approx(needed)
    marks = {series.colour for series in panel.series if series.marker}
    assert marks == {look_of(mechanism).colour for mechanism in grid.axes['mechanism']}


def test_lines_of_theory_leave_the_corner_of_all_that_is_drawn(grid):
    (panel,) = width_figures.width_over_length(grid, analysis.widths(grid)).panels
    assert [line.text for line in panel.references] == ['slope 0', 'slope 1/4', 'slope 1/2']
    starts = {line.points[0] for line in panel.references}
    ((length, least),) = starts
    assert length < 20
    assert 0 < least < min(point.low for series in panel.series for point in series.points if series.marker)
    ends = [line.points[1] for line in panel.references]
    growth = [math.log(end[1] / least) / math.log(end[0] / length) for end in ends]
    assert growth == pytest.approx([0, 0.25, 0.5])


def test_the_legend_tells_the_exponent_of_what_has_one(grid):
    widths = analysis.widths(grid)
    chart = width_figures.width_over_length(grid, widths)
    fit = widths.exponents[LINEAR]
    low, high = fit.interval
    assert chart.keys[1].text == f'linear: {fit.value:.2f} ({low:.2f} to {high:.2f})'
    assert chart.keys[2].text.startswith('sparse: ')
    assert chart.keys[2].text.endswith('(two sizes, no interval)')
    assert 'With three seeds such an interval covers about 70%' in chart.caption


def test_a_width_that_is_lost_again_is_crossed_out_and_its_interval_open_above(reaching):
    grid = reaching(0.1, LINEAR, 'n=16', 'dim=64')
    chart = width_figures.width_over_length(grid, analysis.widths(grid))
    (crossed,) = (series for series in chart.panels[0].series if series.marker == 'x')
    (point,) = crossed.points
    assert (point.x, point.y) == (pytest.approx(36), 32)
    assert (point.low, point.high) == (16, pytest.approx(64 * 1.1))
    assert 'reached at 32, lost above' in point.hover
    assert 'lost at a greater one' in chart.signs[-1].text


def test_widths_are_drawn_over_their_bounds_and_open_where_they_are_at_most_that(reaching):
    grid = reaching(0.95, LINEAR, 'n=8')
    widths = analysis.widths(grid)
    (panel,) = width_figures.over_bound(grid, widths).panels
    line, exact, at_most = (series for series in panel.series if series.name == LINEAR)
    least = widths.needed[LINEAR, 'n=8'].most
    assert least == 8
    ratio = least / widths.bounds[LINEAR, 'n=8']
    assert [(p.x, p.y) for p in at_most.points] == [(20, ratio)]
    assert at_most.is_open
    assert (line.points[0].x, line.points[0].y) == (20, ratio)
    needed = widths.needed[LINEAR, 'n=32'].width
    assert exact.points[-1].y == needed / widths.bounds[LINEAR, 'n=32']
    sparse = next(series for series in panel.series if series.name == 'mechanism=sparse')
    assert [point.x for point in sparse.points] == [20, 36]  # at n = 32 the width is beyond


def test_width_and_cost_sets_the_bound_below_the_width_and_the_least_cost_beside_it(grid):
    widths, costs = analysis.widths(grid), analysis.least_costs(grid)
    chart = width_and_cost(grid, widths)
    needed, cost = chart.panels
    (bound,) = (s for s in needed.series if s.name == LINEAR and s.line == 'dashed')
    assert [p.y for p in bound.points] == [widths.bounds[LINEAR, f'n={n}'] for n in (8, 16, 32)]
    marks = [p for s in needed.series if s.name == LINEAR and s.marker for p in s.points]
    assert [p.y for p in marks] == [widths.needed[LINEAR, f'n={n}'].width for n in (8, 16, 32)]
    assert [(p.low, p.high) for p in marks] == [widths.intervals[LINEAR, f'n={n}'] for n in (8, 16, 32)]
    line, _ = (s for s in cost.series if s.name == LINEAR)
    assert cost.y.label.startswith('MFLOPs')
    assert [p.y for p in line.points] == [costs[LINEAR, f'n={n}'].mflops for n in (8, 16, 32)]
    # No model of sparse attention reaches the target at n = 32: its costliest one is a lower end.
    reached, beyond = (s for s in cost.series if s.name == 'mechanism=sparse')
    assert len(reached.points) == 2
    assert beyond.is_open
    run, *_ = grid.select('mechanism=sparse', 'n=32', 'dim=8')
    assert [p.y for p in beyond.points] == [run.result['forward_flops'] / 1e6]
