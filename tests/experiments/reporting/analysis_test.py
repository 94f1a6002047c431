"""Tables and needed widths agree with the rule that made the accuracies."""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiments.reporting import analysis, records


def test_needed_widths_are_those_that_the_accuracies_were_made_from(grid):
    found = analysis.widths(grid)
    needed = {
        (mechanism.partition('=')[2], size): value.width for (mechanism, size), value in found.needed.items()
    }
    # Interpolation between widths a factor of two apart is off by some percent.
    assert needed['standard', 'n=32'] == pytest.approx(12, rel=0.2)
    assert needed['linear', 'n=32'] == pytest.approx(14 * math.sqrt(68 / 19), rel=0.15)
    assert math.isnan(needed['sparse', 'n=32'])
    assert found.needed['mechanism=sparse', 'n=32'].most == math.inf
    assert found.exponents['mechanism=standard'].verdict == '0'
    assert found.exponents['mechanism=linear'].value == pytest.approx(0.5, abs=0.1)
    assert all(0 < bound < 10 for bound in found.bounds.values())


def test_a_width_that_reaches_the_target_is_told_where_a_wider_one_falls_short_again(reaching):
    grid = reaching(0.1, 'mechanism=linear', 'n=16', 'dim=64')
    found = analysis.widths(grid)
    rows = analysis.tables(grid, found)['Width and cost']
    (row,) = (row for row in rows if (row['mechanism'], row['size']) == ('linear', 'n=16'))
    assert row['D reaching 90%'] == 'reached at 32, lost above'
    assert row['bootstrap over seeds'] == 'above 16 (3)'
    assert row['at D'] == 32
    assert row['over bound'] == ''


@pytest.mark.parametrize(
    'low, high, least, text',
    [
        (2.0, 3.25, 0.0, '2 to 3.2'),
        (2.5, 2.5, 0.0, '2.5'),
        (2.0, math.inf, 0.0, 'above 2'),
        (0.0, 3.0, 0.0, 'at most 3'),
        (0.0, math.inf, 0.0, 'not known'),
        (0.0, math.inf, -math.inf, 'above 0'),
        (-math.inf, 0.0, -math.inf, 'at most 0'),
        (-math.inf, math.inf, -math.inf, 'not known'),
    ],
)
def test_intervals_are_told_as_far_as_they_are_closed(low, high, least, text):
    assert analysis.range_text(low, high, '.1f', least) == text


def test_the_table_of_growth_sets_the_measured_exponent_beside_the_theorys(grid):
    found = analysis.widths(grid)
    rows = analysis.tables(grid, found)['Growth of the needed width with length']
    standard, linear, sparse = rows
    assert (standard['agrees with'], standard['paper']) == ('0', '0')
    low, high = map(float, linear.pop('95% interval').split(' to '))
    assert low < 0.5 < high
    bound = (found.bounds['mechanism=linear', f'n={n}'] for n in (8, 16, 32))
    slope = np.polyfit(np.log([20, 36, 68]), np.log(list(bound)), 1)[0]
    assert linear == {
        'mechanism': 'linear', 'exponent': f'{found.exponents["mechanism=linear"].value:.2f}',
        'sizes known': '3 of 3', 'agrees with': found.exponents['mechanism=linear'].verdict,
        'exponent of the bound': f'{slope:.2f}', 'paper': '1/2',
    }  # fmt: skip
    # Two sizes of three: a slope without an interval.
    assert (sparse['sizes known'], sparse['95% interval']) == ('2 of 3', 'not known')


def test_the_bound_has_no_exponent_below_three_lengths(grid):
    first, second, _ = grid.axes['size']
    two = replace(grid, axes={**grid.axes, 'size': (first, second)})
    rows = analysis.tables(two, analysis.widths(two))['Growth of the needed width with length']
    assert [row['exponent of the bound'] for row in rows] == [''] * 3
    assert [row['sizes known'] for row in rows] == ['2 of 2'] * 3


def test_the_least_cost_is_of_the_narrowest_model_that_reaches_the_target(grid):
    costs = analysis.least_costs(grid)
    cost = costs['mechanism=linear', 'n=16']
    assert cost.width == 32
    (any_run, *_) = grid.select('mechanism=linear', 'n=16', 'dim=32')
    assert cost.mflops == any_run.result['forward_flops'] / 1e6
    assert cost.state_size == any_run.result['state_size']
    assert costs['mechanism=sparse', 'n=32'].width is None


def test_a_cell_of_which_some_seeds_diverged_is_everywhere_their_mean(grid):
    place = ('mechanism=linear', 'n=16', 'dim=32')
    runs = tuple(
        replace(run, result=None, state='failed', diverged=True) if run.labels == place and run.seed else run
        for run in grid.runs
    )
    two_failed = replace(grid, runs=runs)
    curve = two_failed.curve(*place[:2])
    mean = curve.accuracy[:, 2].mean()
    assert mean < 0.4
    assert two_failed.mean_accuracy(*place) == mean
    assert analysis.least_costs(two_failed)[place[:2]].width == 64


def test_ratios_tell_growth_with_length_from_growth_with_locality(others):
    grid, _ = records.read([others])
    window, linear = analysis.tables(grid, analysis.widths(grid))['Ratio of needed widths']
    assert list(window) == [
        'mechanism', 'L 42 to 78, locality 8', 'locality 8 to 10, L 42, 39', 'locality 8 to 10, L 78, 79',
        'L 39 to 79, locality 10',
    ]  # fmt: skip
    values = lambda row: [float(text.split()[0]) for text in list(row.values())[1:]]
    assert values(window) == pytest.approx([1, 1.5, 1.5, 1], rel=0.1)
    assert values(linear) == pytest.approx([1.36, 1.5 * 0.96, 1.5 * 1.006, 1.42], rel=0.1)
    low, high = (float(text.strip('()')) for text in window['L 42 to 78, locality 8'].split()[1::2])
    assert 0.95 < low < 1 < high < 1.05  # two seeds, two percent apart
