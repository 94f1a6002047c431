"""The search finds the smallest width that reaches the target, with few trials, and looks around it."""

import pytest

from experiments.sweeping import widths


def search(passes, count, seeds=1):
    """Runs a search to its end; what was tried."""
    tried = {}
    while wanted := widths.next_rungs(count, tried):
        assert not set(wanted) & set(tried)
        for rung in wanted:
            tried[rung] = [passes(rung, seed) for seed in range(seeds)]
    return tried


@pytest.mark.parametrize('count', [1, 2, 3, 14])
def test_the_smallest_passing_rung_is_found_wherever_it_is(count):
    for least in range(count + 1):
        tried = search(lambda rung, _, least=least: rung >= least, count)
        assert min((rung for rung in tried if tried[rung][0]), default=count) == least
        around = {rung for rung in range(least - 2, least + 2) if 0 <= rung < count}
        assert around <= set(tried)


def test_few_rungs_of_a_long_ladder_are_tried():
    assert max(len(search(lambda rung, _, least=least: rung >= least, 16)) for least in range(17)) <= 7


def test_each_seed_has_a_search_of_its_own():
    tried = search(lambda rung, seed: rung >= (3, 9)[seed], 14, seeds=2)
    for seed, least in enumerate((3, 9)):
        assert {least - 2, least - 1, least, least + 1} <= set(tried)
        assert min(rung for rung in tried if tried[rung][seed]) == least


def test_the_search_goes_on_until_the_mean_has_crossed():
    # Each seed dips once, above its own smallest width, so that the mean crosses later than any of them.
    accuracy = {seed: [0.0] * 4 + [1.0] * 8 for seed in range(3)}
    for seed in range(3):
        accuracy[seed][4 + seed + 1] = 0.5
    tried = {}
    while wanted := widths.next_rungs(12, tried):
        for rung in wanted:
            tried[rung] = widths.outcome({s: accuracy[s][rung] for s in range(3)}, [0, 1, 2], 0.9)
    mean_passes = [rung for rung in sorted(tried) if tried[rung][0]]
    below = max(rung for rung in tried if rung < mean_passes[0])
    assert below == mean_passes[0] - 1
    assert not tried[below][0]


def test_an_outcome_is_that_of_the_mean_and_of_each_seed_where_one_that_diverged_has_learnt_nothing():
    assert widths.outcome({0: 1.0, 1: 0.8}, [0, 1], 0.9) == [True, True, False]
    assert widths.outcome({0: 1.0}, [0, 1], 0.9) == [False, True, False]


def test_a_dip_just_above_does_not_hide_a_smaller_width():
    # Bisection lands on 7, behind a dip at 6; its neighbours show that 5 passes already.
    tried = search(lambda rung, _: rung >= 7 or rung == 5, 15)
    assert min(rung for rung in tried if tried[rung][0]) == 5
