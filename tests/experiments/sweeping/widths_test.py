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


def test_a_dip_just_above_does_not_hide_a_smaller_width():
    # Bisection lands on 7, behind a dip at 6; its neighbours show that 5 passes already.
    tried = search(lambda rung, _: rung >= 7 or rung == 5, 15)
    assert min(rung for rung in tried if tried[rung][0]) == 5
