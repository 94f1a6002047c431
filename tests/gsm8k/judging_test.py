"""Judged solutions of a few problems made up for this: verdicts, origins, faults, totals and chains."""

from collections import Counter
from fractions import Fraction

import pytest

from effxf_jax import dependencies
from effxf_jax.dependencies import Place
from effxf_jax.gsm8k import annotations, judging, numbers, origins
from effxf_jax.gsm8k.chains import chain_of
from effxf_jax.gsm8k.judging import EXACT, ROUNDED, UNREADABLE, WRONG, judge
from effxf_jax.gsm8k.totals import Totals, origin_of, totals_of

QUESTION = 'Ann has 12 red kites and half as many blue ones. A kite costs $3. What do all cost in 5 weeks?'
ANSWER = (
    'She has 12/2=<<12/2=6>>6 blue kites.\n'
    'In all 12+6=<<12+6=18>>18, so $<<18*3=54>>54 a week.\n'
    'A day it is <<54/7=7.71>>7.71.\n'
    'In the end <<54*5+41=311>>311.\n'
    '#### 311'
)


@pytest.mark.parametrize(
    ('written', 'verdict'),
    [
        ('48/2=24', EXACT),
        ('1/2=0.50', EXACT),
        ('3/4=3/4', EXACT),
        ('1000*2=2,000', EXACT),
        ('1/5=20%', EXACT),
        ('10/3=3.33', ROUNDED),
        ('20/3=6.67', ROUNDED),
        ('20/3=6.66', ROUNDED),  # cut
        ('7/2=3', ROUNDED),
        ('-20/3=-6.66', ROUNDED),
        ('1/3=33.3%', ROUNDED),
        ('20/3=6.68', WRONG),
        ('3+4=8', WRONG),
        ('1/3=34%', WRONG),
        ('3/4=2/3', WRONG),
        ('1/3=0.33+0.01', WRONG),
        ('5 hours=5', UNREADABLE),
        ('5=5 hours', UNREADABLE),
        ('1/0=0', UNREADABLE),
        ('1=1=1', UNREADABLE),
        ('=5', UNREADABLE),
        ('5=', UNREADABLE),
    ],
)
def test_an_annotation_is_exact_rounded_wrong_or_unreadable(written, verdict):
    (judged,) = judge('Why?', f'So <<{written}>>').annotations
    assert judged.verdict == verdict
    assert bool(judged.detail) == (verdict in (WRONG, UNREADABLE))


def test_a_wrong_result_is_wrong_by_so_much():
    (judged,) = judge('Why?', '<<3+4=8.5>>8.5').annotations
    assert judged.detail == 'it is 7; the result is 1.5 more'


@pytest.mark.parametrize(
    ('behind', 'is_shown'),
    [
        ('24', True),
        (' $24.', True),
        ('24.0 kites', True),
        ('24/6=4', True),
        ('2,400%', True),
        ('24%', True),
        ('23', False),
        ('-24', False),
        (' kites', None),
        ('', None),
    ],
)
def test_the_number_behind_an_annotation_is_its_result(behind, is_shown):
    (judged,) = judge('Why?', f'So <<48/2=24>>{behind}\n#### 24').annotations
    assert judged.is_shown is is_shown


def test_operands_are_traced_to_the_question_to_results_or_to_what_is_known():
    judgement = judge(QUESTION, ANSWER)
    words = [word.text for word in numbers.words(QUESTION) + numbers.words(ANSWER)]
    traced = [
        [
            (words[o.position], [words[place.position] for place in o.origins], origin_of(o))
            for o in one.operands
        ]
        for one in judgement.annotations
    ]
    assert traced == [
        [('12', ['12'], 'question'), ('2', ['half'], 'question')],
        [('12', ['12'], 'question'), ('6', ['6'], 'earlier result')],
        [('18', ['18'], 'earlier result'), ('3', ['3'], 'question')],
        [('54', ['54'], 'earlier result'), ('7', [], 'conversion')],
        [('54', ['54'], 'earlier result'), ('5', ['5'], 'question'), ('41', [], 'nowhere')],
    ]
    assert judgement.annotations[3].operands[1].conversion == 'days in a week'
    assert judgement.annotations[1].operands[1].origins[0].step == 1
    assert [words[one.place.position] for one in judgement.annotations] == ['6', '18', '54', '7.71', '311']
    assert judgement.length == len(words)


def test_a_value_that_stands_twice_has_two_origins():
    judgement = judge('Is 6 or 12?', '<<12/2=6>>6\n<<6+6=12>>12\n<<12-20=-8>>\n<<8*1=8>>')
    second, fourth = judgement.annotations[1], judgement.annotations[3]
    assert [[place.step for place in o.origins] for o in second.operands] == [[0, 1], [0, 1]]
    assert origin_of(second.operands[0]) == 'question or earlier result'
    assert [place.step for place in fourth.operands[0].origins] == [3]  # without its sign


def test_of_many_places_the_first_and_the_latest_are_kept():
    known = origins.Known()
    for position in range(100):
        known.add(Fraction(5), Place(0, position))
    positions = [place.position for place in known.origins(Fraction(-5))]
    assert positions == [0, *range(101 - origins.MOST_PLACES, 100)]


@pytest.mark.parametrize(
    ('answer', 'faults'),
    [
        ('<<1+1=2>>2\n#### 2', []),
        ('<<1+1=2>>2\n#### 2\n\n', []),
        ('No.\n#### -1,250.5', []),
        ('<<1+1=2>>2', [(0, 'no lines begin with ####')]),
        ('#### 2\n#### 3', [(0, '2 lines begin with ####')]),
        ('#### 2\nso', [(2, 'text after')]),
        ('#### two', [(1, "must be followed by a number; got 'two'")]),
        ('####', [(1, 'must be followed by a number')]),
        ('#### $5', [(1, 'must be followed by a number')]),
        ('#### ' + '9' * 9999, [(1, 'over 30 digits')]),
        ('x\n<<1+1=2\n#### 2', [(2, '<< without >>')]),
        ('<<1+<<1=2>>2\n#### 2', [(1, '<< without >>')]),
        ('1=2>>2\n#### 2', [(1, '>> without <<')]),
        ('<<24>>24\n#### 24', [(1, "no = in the annotation '24'")]),
    ],
)
def test_malformed_solutions_have_faults(answer, faults):
    found = judge('Why?', answer).faults
    assert [fault.step for fault in found] == [step for step, _ in faults]
    assert all(reason in fault.reason for fault, (_, reason) in zip(found, faults, strict=True))


def test_the_answer_is_compared_as_a_number():
    assert judge('Why?', '<<1000*2=2000.0>>\n#### 2,000').ends_in_answer
    assert not judge('Why?', '<<1000*2=2000>>\n<<1+1=2>>\n#### 2,000').ends_in_answer
    assert not judge('Why?', 'No.\n#### 2').ends_in_answer
    assert not judge('Why?', '<<x=x>>x').ends_in_answer


def test_a_line_with_two_annotations_is_one_line_and_two_steps():
    judged = judge(QUESTION, ANSWER).annotations
    assert [one.annotation.step for one in judged] == [1, 2, 2, 3, 4]
    assert [one.place.step for one in judged] == [1, 2, 3, 4, 5]


def test_totals_add_up():
    totals = totals_of(judge(QUESTION, ANSWER))
    assert totals.verdicts == {EXACT: 4, ROUNDED: 1}
    assert (totals.problems, totals.malformed, totals.answered, totals.ends_in_answer) == (1, 0, 1, 1)
    assert totals.ambiguous == totals.misshown == 0
    assert totals.origins == {'question': 5, 'earlier result': 4, 'conversion': 1, 'nowhere': 1}
    other = totals_of(judge('Is 1 or 1?', 'So <<(1)=2>>3\n<<a=1/2>>'))
    assert (other.malformed, other.misshown, other.ambiguous) == (1, 1, 1)
    assert other.notations == {'parentheses': 1, 'fraction as result': 1}
    both = totals + other + Totals()
    assert both.annotations == 7
    assert both.per_problem == {5: 1, 2: 1}
    assert both.verdicts == Counter({EXACT: 4, ROUNDED: 1, WRONG: 1, UNREADABLE: 1})


def test_a_chain_has_a_step_for_each_annotation():
    chain = chain_of(judge(QUESTION, ANSWER))
    dependencies.check(chain)
    assert dependencies.steps_back(chain, 'nearest') == [[], [1], [1], [1], [2]]
    assert dependencies.live_sets(chain, 'nearest') == [1, 1, 1, 1, 0]
    assert dependencies.live_sets(chain, 'nearest', with_prompt=True) == [4, 3, 2, 2, 0]
    unreadable = chain_of(judge('Is 3?', '<<3+0=3>>\n<<a=b>>\n<<3*3=9>>'))
    assert dependencies.steps_back(unreadable, 'nearest') == [[], [], [2, 2]]


def test_texts_for_messages_are_short_and_printable():
    text = annotations.shortened('\x1b[31m' + 'a' * 5000)
    assert len(text) < 70
    assert text.isprintable()
    assert judging.as_text(Fraction(10, 3)) == '3.333333333'
