"""The search finds the smallest width that reaches the target in few trials, and tries its neighbours."""

import math

import numpy as np
import pytest

from experiments.reporting import thresholds
from experiments.sweeping import widths

TARGET = 0.9


def search(accuracy, count, seeds=1):
    """Runs a search to its end; of each rung that was tried the accuracy of each seed."""
    ladder = [[math.nan] * seeds for _ in range(count)]
    while wanted := widths.next_rungs(ladder, TARGET):
        for rung in wanted:
            assert math.isnan(ladder[rung][0])
            ladder[rung] = [float(accuracy(rung, seed)) for seed in range(seeds)]
    return {rung: found for rung, found in enumerate(ladder) if not math.isnan(found[0])}


@pytest.mark.parametrize('count', [1, 2, 3, 14])
def test_the_smallest_passing_rung_is_found_wherever_it_is(count):
    for least in range(count + 1):
        tried = search(lambda rung, _, least=least: rung >= least, count)
        assert min((rung for rung in tried if tried[rung] == [1]), default=count) == least
        around = {rung for rung in range(least - 2, least + 2) if 0 <= rung < count}
        assert around <= set(tried)


def test_few_rungs_of_a_long_ladder_are_tried():
    assert max(len(search(lambda rung, _, least=least: rung >= least, 16)) for least in range(17)) <= 7


def test_each_seed_has_a_search_of_its_own():
    tried = search(lambda rung, seed: rung >= (3, 9)[seed], 14, seeds=2)
    for seed, least in enumerate((3, 9)):
        assert {least - 2, least - 1, least, least + 1} <= set(tried)
        assert min(rung for rung in tried if tried[rung][seed] == 1) == least


def test_the_mean_has_a_search_of_its_own():
    # The first seed reaches the target at 1, the second at 14, and their mean at 6.
    first = [0.0] + [1.0] * 14
    second = [0.5] * 6 + [0.85] * 8 + [1.0]
    tried = search(lambda rung, seed: (first, second)[seed][rung], 15, seeds=2)
    assert {4, 5, 6, 7} <= set(tried)


def test_a_rung_of_which_a_seed_has_not_ended_tells_nothing():
    nan = math.nan
    assert widths.next_rungs([[nan, nan], [1.0, nan], [nan, nan]], TARGET) == [1]
    assert widths.next_rungs([[nan, nan], [1.0, 1.0], [1.0, nan]], TARGET) == [0]


def test_the_mean_and_each_seed_ask_for_what_they_need():
    # The mean and the second seed fail at 1 of 3, so that 2 is to be tried; the first seed wants 0.
    nan = math.nan
    assert widths.next_rungs([[nan, nan], [1.0, 0.0], [nan, nan]], TARGET) == [0, 2]


def test_the_search_climbs_until_accuracy_that_may_only_grow_reaches_the_target():
    # 0.905 passes and 0.88 above it does not; a curve that may only grow makes 0.8925 of both.
    accuracy = [0.1, 0.3, 0.6, 0.8, 0.905, 0.88, 0.97, 0.99, 1.0]
    tried = search(lambda rung, _: accuracy[rung], len(accuracy))
    assert list(tried) == [1, 2, 3, 4, 5, 6]
    curve = thresholds.Curve(np.array(list(tried)) + 1, np.transpose(list(tried.values())))
    whole = thresholds.Curve(np.arange(9) + 1, np.array([accuracy]))
    assert thresholds.crossing(curve, TARGET).width == pytest.approx(thresholds.crossing(whole, TARGET).width)


def test_a_dip_just_above_does_not_hide_a_smaller_width():
    # Bisection lands on 7, behind a dip at 6; its neighbours show that 5 passes already.
    tried = search(lambda rung, _: rung >= 7 or rung == 5, 15)
    assert min(rung for rung in tried if tried[rung] == [1]) == 5
