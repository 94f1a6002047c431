"""Needed widths and their growth agree with their definitions on curves of known shape."""

import math

import numpy as np
import pytest

from experiments.reporting import thresholds
from experiments.reporting.thresholds import Curve


def curve(widths, *seeds):
    return Curve(np.array(widths), np.array(seeds, float))


@pytest.mark.parametrize(
    'found, expected',
    [
        (curve([8, 32], [0.8, 1.0]), 16.0),  # half-way, in the logarithm
        (curve([8, 16, 32], [0.1, 0.9, 1.0]), 16.0),
        (curve([8, 16], [0.1, 0.9]), 16.0),
        (curve([8, 16, 32], [0.9, 0.5, 1.0]), 16 * 2 ** (2 / 3)),  # 0.9 and 0.5 are pooled to 0.7
        (curve([8, 32], [0.7, 1.0], [0.9, 1.0]), 16.0),  # of the mean
        # The seed that was not run at 8 does not count there, and counts half as much in a pool.
        (curve([8, 16, 32], [np.nan, 0.6, 1.0], [0.9, 0.6, 1.0]), 16 * 2 ** (2 / 3)),
    ],
)
def test_the_crossing_is_read_on_the_isotonic_curve_of_the_mean(found, expected):
    assert thresholds.crossing(found, 0.9) == pytest.approx((expected,) * 3 + (math.nan,), nan_ok=True)


@pytest.mark.parametrize(
    'found, least, most, lost_above',
    [
        (curve([8, 16, 32], [0.1, 0.2, 0.89]), 32, math.inf, math.nan),
        (curve([8, 16, 32], [0.95, 1.0, 1.0]), 0, 8, math.nan),
        (curve([8, 16], [np.nan, 0.5], [np.nan, 1.0]), 16, math.inf, math.nan),
        (curve([8, 16, 32], [0.1, 0.96, 0.8]), 8, math.inf, 16),  # 0.96 and 0.8 are pooled to 0.88
        (curve([8, 16, 32], [0.96, 0.8, 0.8]), 0, math.inf, 8),
        (curve([8], [np.nan]), 0, math.inf, math.nan),
    ],
)
def test_where_it_is_only_bounded_the_bounds_are_widths_that_were_run(found, least, most, lost_above):
    crossing = thresholds.crossing(found, 0.9)
    assert crossing == pytest.approx((math.nan, least, most, lost_above), nan_ok=True)


def test_the_interval_reaches_from_seed_to_seed():
    found = curve([8, 32, 128], [0.8, 1.0, 1.0], [0.0, 0.8, 1.0])
    # Of two seeds a fourth of the resamples is one seed twice, another the other.
    assert thresholds.interval(found, 0.9) == pytest.approx((16, 64))


@pytest.mark.parametrize(
    'found, low, high',
    [
        (curve([8, 32], [0.8, 1.0], [0.8, 0.85]), 16, math.inf),
        (curve([8, 32], [0.95, 1.0]), 0, 8),
        (curve([8, 32], [0.95, 1.0], [0.8, 1.0]), 0, 16),
        # Where the mean falls short again, nothing is known but that less than it had reached is not enough.
        (curve([8, 16, 32], [0.1, 0.96, 0.8]), 8, math.inf),
        (curve([8, 16, 32], [0.1, 0.96, 0.8], [0.8, 1.0, 1.0]), 8, math.inf),
    ],
)
def test_an_interval_may_be_open(found, low, high):
    assert thresholds.interval(found, 0.9) == pytest.approx((low, high))


@pytest.mark.parametrize('chance, expected', [(0.25, 64), (0.024, 32)])
def test_percentiles_leave_out_what_is_rarer_than_a_tail(chance, expected):
    weights = np.array([1 - chance, chance])
    assert thresholds._percentile(np.array([32.0, 64.0]), weights, 0.975) == expected
    assert thresholds._percentile(np.array([64.0, 32.0]), weights, 0.025) == 96 - expected


def test_all_resamples_of_few_seeds_are_taken_and_of_many_so_many_are_drawn():
    widths = [8, 32]
    three = thresholds._resampled(curve(widths, [0.8, 1.0], [0.7, 1.0], [0.6, 1.0]), 0.9)
    # One seed three times, one of them twice, or each once: 1, 3 and 6 of 27 draws.
    assert sorted(three.weights * 27) == pytest.approx([1] * 3 + [3] * 6 + [6])
    many = thresholds._resampled(curve(widths, *([0.8 - 0.01 * i, 1.0] for i in range(20))), 0.9)
    assert 1000 < len(many.weights) <= 2000
    assert many.weights.sum() == pytest.approx(1)
    joint, weights = thresholds._jointly([three, three])
    assert joint[0].shape == joint[1].shape == (2, 100)
    assert weights.sum() == pytest.approx(1)
    drawn, weights = thresholds._jointly([three, many, many])
    assert len(weights) == drawn[0].shape[1] == 100_000
    # As often as they are likely: three times the first seed, whose width is the least.
    assert np.mean(drawn[0][0] == three.least.min()) == pytest.approx(1 / 27, abs=0.003)


def power_law(exponent, lengths, spread=0.0, noise=0.0):
    """Curves that reach 0.9 at 12 (L / 20)^exponent, seeds a little apart."""
    widths = np.array([8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128])
    draws = np.random.default_rng(1)
    curves = []
    for length in lengths:
        factor = math.exp(draws.normal(0, noise)) if noise else 1.0
        needed = [12 * factor * (length / 20) ** exponent * (1 + shift) for shift in (-spread, 0, spread)]
        accuracy = [1 / (1 + np.exp(-np.log(9) - 8 * np.log(widths / least))) for least in needed]
        curves.append(Curve(widths, np.array(accuracy)))
    return curves


LENGTHS = (20, 40, 80, 160)


@pytest.mark.parametrize('name, exponent', [('1/4', 0.25), ('1/2', 0.5)])
def test_a_power_law_is_recovered(name, exponent):
    fit = thresholds.exponent(LENGTHS, power_law(exponent, LENGTHS, spread=0.05), 0.9)
    assert fit.value == pytest.approx(exponent, abs=0.02)
    low, high = fit.interval
    assert low < exponent < high
    assert high - low < 0.2
    assert (fit.sizes, fit.verdict) == (4, name)


def test_an_interval_over_two_hypotheses_decides_nothing():
    fit = thresholds.exponent(LENGTHS, power_law(0.35, LENGTHS, noise=0.2), 0.9)
    assert fit.interval.low < 0.25 < 0.5 < fit.interval.high
    assert fit.verdict == 'inconclusive'


def test_an_exponent_that_nobody_named_agrees_with_none():
    fit = thresholds.exponent(LENGTHS, power_law(0.75, LENGTHS, spread=0.01), 0.9)
    assert fit.verdict == 'none'


def test_sizes_at_which_the_width_is_not_known_are_left_out():
    curves = power_law(0.5, LENGTHS)
    beyond = Curve(curves[0].widths, np.zeros_like(curves[0].accuracy))
    below = Curve(curves[0].widths, np.ones_like(curves[0].accuracy))
    # There the line, 12 (L / 20)^(1/2), would be above all widths, 128, and below all, 8.
    fit = thresholds.exponent((*LENGTHS, 3200, 5), [*curves, beyond, below], 0.9)
    assert fit == thresholds.exponent(LENGTHS, curves, 0.9)
    assert fit.verdict == '1/2'
    one = thresholds.exponent((20, 320), [curves[0], beyond], 0.9)
    assert math.isnan(one.value)
    assert (one.sizes, one.verdict) == (1, 'not known')
    same = thresholds.exponent((20, 20), curves[:2], 0.9)
    assert same.verdict == 'not known'


# Reached at 48, so that 40 is the least that it may be, and not again.
LATE_AND_NOT_AGAIN = 7 * [0.0] + [0.95] + 3 * [0.1]


@pytest.mark.parametrize('length, reached', [(320, 0.0), (10.5, 1.0), (40, LATE_AND_NOT_AGAIN)])
def test_a_width_that_is_known_only_to_lie_off_the_line_leaves_no_verdict(length, reached):
    curves = power_law(0.5, LENGTHS)
    bounded = Curve(curves[0].widths, np.broadcast_to(reached, curves[0].accuracy.shape))
    fit = thresholds.exponent((*LENGTHS, length), [*curves, bounded], 0.9)
    assert fit.value == pytest.approx(0.5, abs=0.02)
    assert (fit.sizes, fit.verdict) == (4, 'inconclusive')


def test_a_ratio_of_widths_has_the_interval_of_both():
    first = curve([8, 32, 128], [0.8, 1.0, 1.0], [0.8, 1.0, 1.0])  # 16
    second = curve([8, 32, 128], [0.0, 0.8, 1.0], [0.8, 1.0, 1.0])  # 32 of the mean; 64 and 16
    value, interval = thresholds.ratio(second, first, 0.9)
    assert (value, *interval) == pytest.approx((2, 1, 4))
    value, interval = thresholds.ratio(first, second, 0.9)
    assert (value, *interval) == pytest.approx((0.5, 0.25, 1))


def test_a_ratio_of_which_a_width_is_only_bounded_is_bounded():
    known = curve([8, 32], [0.8, 1.0])  # 16
    beyond, below = curve([8, 32], [0.0, 0.8]), curve([8, 32], [1.0, 1.0])
    bounds = lambda *curves: pytest.approx(thresholds.ratio(*curves, 0.9).interval)
    assert bounds(beyond, known) == (2, math.inf)
    assert bounds(known, beyond) == (0, 0.5)
    assert bounds(below, known) == (0, 0.5)
    assert bounds(known, below) == (2, math.inf)
    assert bounds(below, beyond) == (0, 0.25)
    assert bounds(beyond, below) == (4, math.inf)
    assert bounds(beyond, beyond) == (0, math.inf)
    assert bounds(below, below) == (0, math.inf)
    lost_again = curve([8, 16, 32], [0.1, 0.96, 0.8])
    assert bounds(lost_again, known) == (0.5, math.inf)
    assert bounds(known, lost_again) == (0, 2)
    assert math.isnan(thresholds.ratio(beyond, known, 0.9).value)


def test_the_bounds_of_a_ratio_are_those_that_its_seeds_leave():
    known = curve([8, 32], [0.8, 1.0], [0.8, 1.0])  # 16
    # Beyond 32 of the mean and of one seed; 16 of the other.
    beyond = curve([8, 32], [0.0, 0.6], [0.8, 1.0])
    assert thresholds.ratio(beyond, known, 0.9).interval == pytest.approx((1, math.inf))
    assert thresholds.ratio(known, beyond, 0.9).interval == pytest.approx((0, 1))


def test_from_three_sizes_on_the_interval_holds_what_the_line_leaves_unexplained():
    # Seeds agree exactly, so that only the bend of the points is uncertain.
    lengths, bends = (20, 40, 80), (0.0, 0.9, 0.5)
    curves = [power_law(bend, [length])[0] for bend, length in zip(bends, lengths, strict=True)]
    three = thresholds.exponent(lengths, curves, 0.9)
    assert three.interval.high - three.interval.low > 1
    two = thresholds.exponent(lengths[1:], curves[1:], 0.9)
    assert two.value == pytest.approx(np.log((80 / 20) ** 0.5 / (40 / 20) ** 0.9) / np.log(2), abs=0.05)
    assert (two.interval, two.verdict) == ((-math.inf, math.inf), 'inconclusive')


@pytest.mark.parametrize('number, verdict', [(3, '1/2'), (0, 'inconclusive')])
def test_a_size_whose_width_is_beyond_the_ladder_for_some_seeds_leaves_the_interval_open(number, verdict):
    curves = power_law(0.5, LENGTHS)
    accuracy = curves[number].accuracy.copy()
    accuracy[0] = 0.8  # so that two such seeds in a resample of three never reach 0.9
    curves[number] = Curve(curves[number].widths, accuracy)
    fit = thresholds.exponent(LENGTHS, curves, 0.9)
    low, high = fit.interval
    assert (fit.sizes, fit.verdict) == (4, verdict)
    assert math.isfinite(fit.value)
    # A greatest size that needs more makes the slope steeper, a least one flatter.
    assert (math.isinf(low), math.isinf(high)) == (number == 0, number == 3)
    assert low < fit.value < high
