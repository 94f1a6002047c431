"""Where the values of chains come from, against what the recurrence of each task says of a small example."""

import numpy as np
import pytest

from effxf_jax import dependencies, tasks
from effxf_jax.tasks import EOS

ED = 'a b | c d <sep> 3 4 , 4 6 , <sep> 6'
LOCAL = 'a b <sep> b a 2 b 2 , a a 0 b 2 , <sep> 2'
LIS = '7 9 8 9 <sep> 1 2 2 3 <sep> 3'
EQUATIONS = '0 a + 2 b = 1 , 1 a + 1 b = 2 <sep> a + 1 b = 2 , 2 b = 1 <sep> a = 0 , b = 2'


def uses(task, text):
    """For each step, in words: the position of its result, and the positions of the values that it uses."""
    row = np.append(task.parse_text(text), EOS)
    assert task.diagnose(row[:-1]) is None
    chain = task.dependencies(row)
    dependencies.check(chain)
    return {step.result.position: [o.origins[0].position for o in step.operands] for step in chain.steps}


@pytest.mark.parametrize(
    ('name', 'options', 'text', 'expected'),
    [
        (
            'edit_distance',
            {'n': 2},
            ED,
            {6: [0, 3], 7: [0, 4, 6], 9: [1, 3, 6], 10: [1, 4, 6, 7, 9], 13: [10]},
        ),
        (
            'edit_distance_local',
            {'rows': 2, 'pattern_length': 2},
            LOCAL,
            {
                4: [0], 5: [3, 4], 6: [1], 7: [3, 6, 5],
                10: [4], 11: [9, 10, 5], 12: [6], 13: [9, 12, 5, 7, 11], 16: [13],
            },
        ),
        (
            'lis',
            {'n': 4, 'number_range': 12},
            LIS,
            {5: [0], 6: [1, 0, 5], 7: [2, 0, 5], 8: [3, 0, 2, 5, 7], 10: [5, 6, 7, 8]},
        ),
        (
            'arithmetic',
            {'n': 3},
            '1 * ( 2 + 3 ) - 4 = 1 * 5 - 4 = 5 - 4 = 1',
            {10: [0], 12: [3, 5], 14: [8], 16: [10, 12], 18: [14], 20: [16, 18]},
        ),
        (
            'linear_equations',
            {'n': 2, 'modulus': 3},
            EQUATIONS,
            # a + 1 b = 2 is the second equation, scaled; the other one loses a, of which it has none.
            {
                18: [8, 11], 21: [8, 14], 23: [0, 3, 8, 11], 26: [0, 6, 8, 14],
                30: [18, 21, 23, 26], 34: [23, 26],
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else '',
)  # fmt: skip
def test_a_value_comes_from_the_operands_of_its_recurrence(name, options, text, expected):
    found = uses(tasks.make(name, **options), text)
    assert {at: sorted(used) for at, used in found.items()} == {
        at: sorted(used) for at, used in expected.items()
    }


@pytest.mark.parametrize(
    'name, options',
    [
        ('arithmetic', {'n': 6}),
        ('edit_distance', {'n': 5}),
        ('edit_distance_local', {'rows': 4, 'pattern_length': 3}),
        ('linear_equations', {'n': 3}),
        ('lis', {'n': 9}),
        ('word_problems', {'num_steps': 6, 'alive': 3, 'distractors': 2}),
    ],
)
def test_every_produced_number_is_a_step_whose_operands_stand_before_it(name, options):
    task = tasks.make(name, **options)
    tokens, _ = task.encode(task.sample(np.random.default_rng(0), 20))
    for row in tokens:
        chain = task.dependencies(row)
        dependencies.check(chain)
        assert all(step.operands for step in chain.steps)
        assert chain.steps[-1].result.position == int(np.flatnonzero(row == EOS)[0]) - 1


def test_wrong_rows_and_direct_answers_have_no_dependencies():
    task = tasks.make('lis', n=4, number_range=12)
    row = np.append(task.parse_text(LIS), EOS)
    with pytest.raises(ValueError, match='those of a right row'):
        task.dependencies(np.where(np.arange(len(row)) == 6, 3, row))
    with pytest.raises(ValueError, match='those of a chain'):
        tasks.make('lis', n=4, number_range=12, answer_mode='direct').dependencies(row)
