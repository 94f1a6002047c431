"""Where operands come from, on chains made by hand and against slow definitions."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import dependencies
from effxf_jax.dependencies import Chain, Operand, Place, Step, live_sets, steps_back, tokens_back

A, B, C = Place(1, 10), Place(2, 14), Place(3, 19)
CHAIN = Chain(
    (
        Step((Operand(8, (Place(0, 2),)), Operand(9, (Place(0, 5),))), A),
        Step((Operand(12, (A,)), Operand(13, (Place(0, 2), Place(0, 5)))), B),
        Step((Operand(16, (Place(0, 3), A, B)), Operand(17), Operand(18, (Place(0, 3), A))), C),
    ),
    length=22,
)
"""Two values of the prompt; the third step uses what may be a value of the prompt or one of two results."""


def test_distances_choose_the_nearest_or_the_farthest_origin():
    assert tokens_back(CHAIN, 'nearest') == [[6, 4], [2, 8], [2, 8]]
    assert tokens_back(CHAIN, 'farthest') == [[6, 4], [2, 11], [13, 15]]


def test_distances_in_steps_choose_among_results_alone():
    assert steps_back(CHAIN, 'nearest') == [[], [1], [1, 2]]
    assert steps_back(CHAIN, 'farthest') == [[], [1], [2, 2]]


def test_a_live_set_is_what_later_steps_use():
    assert live_sets(CHAIN, 'nearest') == [1, 2, 0]  # after step 2, both results
    assert live_sets(CHAIN, 'farthest') == [1, 1, 0]
    assert live_sets(CHAIN, 'nearest', with_prompt=True) == [2, 2, 0]  # after step 1: A and the token 5
    assert live_sets(CHAIN, 'farthest', with_prompt=True) == [3, 1, 0]  # A, the tokens 2 and 3; 3 alone


def test_a_value_told_between_steps_is_live_from_the_next_step_on():
    told = Place(0, 12)
    steps = [Step((), Place(1, 10)), Step((), Place(2, 14)), Step((Operand(16, (told,)),), Place(3, 18))]
    assert live_sets(Chain(tuple(steps), 20), 'nearest', with_prompt=True) == [0, 1, 0]


def test_a_summary_counts_every_chain():
    summary = dependencies.summarize(chain for chain in (CHAIN, Chain((), 5), CHAIN))
    assert summary.chains == 3
    assert summary.lengths == {22: 2, 5: 1}
    assert summary.steps == {3: 2, 0: 1}
    assert (summary.operands, summary.ambiguous, summary.homeless) == (14, 6, 2)
    measured = summary.readings['nearest']
    assert measured.step_reach == {0: 2, 1: 2, 2: 2}
    assert measured.token_reach == {6: 2, 8: 4}
    assert measured.live_results == {1: 2, 2: 2}  # not after the last step
    assert [dependencies.share_within(measured.step_reach, m) for m in (0, 1, 2)] == [1 / 3, 2 / 3, 1]


def test_quantiles_are_values_that_occur():
    counts = Counter([1, 1, 1, 2, 9])
    assert [dependencies.quantile(counts, share) for share in (0.5, 0.6, 0.61, 0.8, 0.9, 1)] == [
        1,
        1,
        2,
        2,
        9,
        9,
    ]
    assert dependencies.mean(counts) == 2.8
    for nothing in (dependencies.quantile({}, 0.5), dependencies.mean({}), dependencies.share_within({}, 3)):
        assert math.isnan(nothing)


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (Step((), Place(2, 5)), 'the result of step 1 must have this number'),
        (Step((), Place(1, 9)), 'position 9 in a text of 9 tokens'),
        (Step((Operand(-1),), Place(1, 5)), 'position -1'),
        (Step((Operand(4, (Place(1, 3),)),), Place(1, 5)), 'must come from before'),
        (Step((Operand(4, (Place(0, 4),)),), Place(1, 5)), 'must come from before'),
    ],
)
def test_a_chain_that_contradicts_itself_is_refused(step, message):
    with pytest.raises(ValueError, match=message):
        dependencies.summarize([Chain((step,), 9)])


def test_results_stand_in_the_order_of_their_steps():
    with pytest.raises(ValueError, match='in the order of their steps'):
        dependencies.check(Chain((Step((), Place(1, 5)), Step((), Place(2, 5))), 9))


@st.composite
def chains(draw):
    """A chain whose step s has its result at position 10 s + 9, operands at 10 s, ..., and a prompt of 10."""
    steps = []
    for number in range(1, draw(st.integers(0, 7)) + 1):
        places = [Place(0, position) for position in range(0, 10, 3)]
        places += [Place(earlier, 10 * earlier + 9) for earlier in range(1, number)]
        origins = draw(st.lists(st.lists(st.sampled_from(places), max_size=3, unique=True), max_size=3))
        operands = [Operand(10 * number + i, tuple(sorted(found))) for i, found in enumerate(origins)]
        steps.append(Step(tuple(operands), Place(number, 10 * number + 9)))
    return Chain(tuple(steps), 10 * len(steps) + 10)


@settings(max_examples=80, deadline=None, database=None)
@given(chain=chains(), reading=st.sampled_from(dependencies.READINGS), with_prompt=st.booleans())
def test_live_sets_are_those_of_the_definition(chain, reading, with_prompt):
    choose = max if reading == 'nearest' else min
    uses = []  # (place, step that uses it)
    for number, step in enumerate(chain.steps, 1):
        for operand in step.operands:
            places = [place for place in operand.origins if with_prompt or place.step > 0]
            if places:
                uses.append((choose(places, key=lambda place: place.position), number))
    expected = [
        len({place for place, user in uses if place.step <= number < user})
        for number in range(1, len(chain.steps) + 1)
    ]
    assert live_sets(chain, reading, with_prompt) == expected


@settings(max_examples=80, deadline=None, database=None)
@given(chain=chains(), most=st.integers(0, 90))
def test_the_readings_enclose_each_other_and_reach_is_local(chain, most):
    summary = dependencies.summarize([chain])
    near, far = (summary.readings[reading] for reading in ('nearest', 'farthest'))
    for name in ('steps_back', 'tokens_back', 'step_reach', 'token_reach'):
        nearest, farthest = (dependencies.share_within(getattr(m, name), most) for m in (near, far))
        assert nearest >= farthest or math.isnan(nearest)
    local = [all(d <= most for d in distances) for distances in steps_back(chain, 'farthest')]
    assert not local or dependencies.share_within(far.step_reach, most) == sum(local) / len(local)
