"""Linear equations: their solutions, every state as an equivalent system, and the published format."""

import itertools
import math

import numpy as np
import pytest

from effxf_jax import tasks
from effxf_jax.tasks.linear_equations import Problems

EXAMPLE = (
    '1 a + 5 b + 7 c = 5 , 8 a + 2 b + 3 c = 10 , 1 a + 0 b + 7 c = 1 <sep> '
    'a + 5 b + 7 c = 5 , 6 b + 2 c = 3 , 6 b + 0 c = 7 <sep> '
    'a + 9 c = 8 , b + 4 c = 6 , 9 c = 4 <sep> a = 4 , b = 3 , c = 9'
)
sizes = pytest.mark.parametrize('n, modulus', [(1, 11), (2, 11), (3, 11), (5, 11), (3, 2), (4, 113), (9, 3)])


def system_of(text, n):
    """The matrix of a system in words, read term by term."""
    matrix = np.zeros((n, n + 1), int)
    for row, equation in enumerate(text.split(' , ')):
        left, right = equation.split(' = ')
        matrix[row, n] = int(right)
        for term in left.split(' + '):
            *coefficient, variable = term.split()
            matrix[row, ord(variable) - ord('a')] = int(coefficient[0]) if coefficient else 1
    return matrix


@sizes
def test_the_solution_put_back_satisfies_every_state(n, modulus):
    task = tasks.make('linear_equations', n=n, modulus=modulus)
    problems = task.sample(np.random.default_rng(0), 60)
    solution = task.solve(problems)
    values = np.concatenate([solution.answer, np.full((60, 1), -1)], axis=1)
    residual = np.einsum('bsij,bj->bsi', solution.states.astype(int), values)
    assert (residual % modulus == 0).all()
    np.testing.assert_array_equal(solution.states[:, 0], problems.systems)
    np.testing.assert_array_equal(solution.states[:, -1, :, :-1], np.broadcast_to(np.eye(n), (60, n, n)))


def span(rows, modulus):
    """All combinations of rows."""
    weights = np.array(list(itertools.product(range(modulus), repeat=len(rows))))
    return set(map(tuple, weights @ rows % modulus))


@pytest.mark.parametrize('n, modulus', [(2, 11), (3, 3), (3, 5)])
def test_every_state_is_equivalent_to_the_system_row_by_row(n, modulus):
    task = tasks.make('linear_equations', n=n, modulus=modulus)
    states = task.solve(task.sample(np.random.default_rng(0), 25)).states.astype(int)
    for example in states:
        whole = span(example[0], modulus)
        for pivot, state in enumerate(example):
            assert span(state, modulus) == whole
            np.testing.assert_array_equal(state[:, :pivot], np.eye(n)[:, :pivot])


def test_the_first_equation_in_which_the_variable_occurs_is_swapped_up():
    task = tasks.make('linear_equations', n=3)
    system = np.array([[[0, 2, 1, 3], [0, 0, 5, 4], [3, 6, 9, 1]]], np.int8)
    text = task.decode_text(task.encode(Problems(system)).tokens[0])
    assert text == (
        '0 a + 2 b + 1 c = 3 , 0 a + 0 b + 5 c = 4 , 3 a + 6 b + 9 c = 1 <sep> '
        'a + 2 b + 3 c = 4 , 0 b + 5 c = 4 , 2 b + 1 c = 3 <sep> '
        'a + 2 c = 1 , b + 6 c = 7 , 5 c = 4 <sep> a = 6 , b = 0 , c = 3'
    )


def test_the_published_example_reads_and_is_right():
    task = tasks.make('linear_equations', n=3)
    tokens = task.parse_text(EXAMPLE)
    assert task.diagnose(tokens) is None
    problems = Problems(system_of(EXAMPLE.split(' <sep> ')[0], 3)[None].astype(np.int8))
    assert task.decode_text(task.encode(problems).tokens[0]) == EXAMPLE
    direct = tasks.make('linear_equations', n=3, answer_mode='direct')
    first, *_, last = EXAMPLE.split(' <sep> ')
    assert direct.decode_text(direct.encode(problems).tokens[0]) == f'{first} <sep> {last}'


@sizes
def test_the_text_of_every_state_says_the_state(n, modulus):
    task = tasks.make('linear_equations', n=n, modulus=modulus)
    problems = task.sample(np.random.default_rng(1), 20)
    rows = zip(task.encode(problems).tokens, task.solve(problems).states, strict=True)
    for row, states in rows:
        parts = task.decode_text(row).split(' <sep> ')
        assert len(parts) == n + 1
        for part, state in zip(parts, states, strict=True):
            np.testing.assert_array_equal(system_of(part, n), state)


@pytest.mark.parametrize('n, chain, direct', [(3, 91, 46), (4, 181, 73), (5, 316, 106)])
def test_sizes_are_those_published(n, chain, direct):
    # The published lengths have room for <eos> and one more [feng].
    assert tasks.make('linear_equations', n=n).max_length == chain - 1
    assert tasks.make('linear_equations', n=n, answer_mode='direct').max_length == direct - 1


def test_every_regular_system_is_equally_likely_and_no_singular_one_occurs():
    count = 24_000
    task = tasks.make('linear_equations', n=2, modulus=2)
    systems = task.sample(np.random.default_rng(0), count).systems.reshape(count, 6)
    drawn, times = np.unique(systems, axis=0, return_counts=True)
    regular = [x for x in itertools.product(range(2), repeat=6) if (x[0] * x[4] - x[1] * x[3]) % 2]
    assert sorted(map(tuple, drawn.tolist())) == sorted(regular)
    assert (abs(times - count / len(regular)) < 5 * math.sqrt(count / len(regular))).all()


def test_coefficients_are_even_where_one_variable_must_occur():
    task = tasks.make('linear_equations', n=1)
    systems = task.sample(np.random.default_rng(0), 22_000).systems[:, 0]
    assert np.bincount(systems[:, 0])[0] == 0
    for column, choices in (0, 10), (1, 11):
        times = np.bincount(systems[:, column])[-choices:]
        assert (abs(times - 22_000 / choices) < 5 * math.sqrt(22_000 / choices)).all()


def test_diagnoses_tell_states_and_equations():
    task = tasks.make('linear_equations', n=3)
    for text, diagnosis in {
        EXAMPLE.replace(
            '6 b + 2 c', '6 b + 3 c'
        ): 'wrong value at position 46, state 1, equation 2: 3 where 2 is expected',
        EXAMPLE.replace('8 , b + 4', '8 b + 4'): (
            'missing separator at position 65, state 2, equation 1: b where , is expected'
        ),
        EXAMPLE.replace('a + 9 c', 'a + 0 b + 9 c'): (
            'wrong value at position 61, state 2, equation 1: 0 where 9 is expected'
        ),
        EXAMPLE.replace(
            'b = 3', 'b = 4'
        ): 'wrong value at position 84, state 3, equation 2: 4 where 3 is expected',
        EXAMPLE[:-2]: 'truncated at position 88, state 3, equation 3: the text ends where 9 is expected',
        EXAMPLE.replace(
            '1 a + 5 b', 'a + 5 b'
        ): 'malformed prompt at position 0: a where a number is expected',
        EXAMPLE.replace('5 , 8', '5 8'): 'malformed prompt at position 10: 8 where , is expected',
        '1 a + 2 b = 3 , 4 a + 5 b = 6 <sep>': (
            'malformed prompt at position 0: system of 2 equations; this task has 3'
        ),
        '1 a + 1 b + 1 c = 0 , 2 a + 2 b + 2 c = 0 , 0 a + 0 b + 1 c = 0 <sep>': (
            'malformed prompt at position 0: the system is singular'
        ),
        '1 a + 1 b': 'truncated at position 5: the text ends within the prompt',
    }.items():
        assert task.diagnose(task.parse_text(text)) == diagnosis


def test_every_value_of_the_answer_counts():
    task = tasks.make('linear_equations', n=3)
    start, answer = EXAMPLE.rsplit(' <sep> ', 1)
    for right, wrong in ('a = 4', 'a = 5'), ('b = 3', 'b = 5'), ('c = 9', 'c = 5'):
        wrong = f'{start} <sep> {answer.replace(right, wrong)}'
        tokens = np.append(task.parse_text(wrong), 1)[None]
        assert tokens.shape[1] == task.max_length
        assert not task.grade(tokens, np.zeros(tokens.shape, bool)).answer_correct[0]
    beginning = EXAMPLE.replace('6 b + 2 c', '7 b + 2 c')
    tokens = np.append(task.parse_text(beginning), 1)[None]
    assert task.grade(tokens, np.zeros(tokens.shape, bool)).answer_correct[0]


def test_a_singular_system_is_a_malformed_prompt():
    task = tasks.make('linear_equations', n=2)
    tokens = task.parse_text('1 a + 2 b = 3 , 2 a + 4 b = 6 <sep> a + 2 b = 3 , 0 b = 0 <sep> a = 3 , b = 0')
    grade = task.grade(np.append(tokens, 1)[None], np.zeros((1, len(tokens) + 1), bool))
    assert (grade.first_wrong[0], grade.answer_correct[0], grade.chain_correct[0]) == (0, False, False)


def test_options_out_of_range_are_all_named():
    with pytest.raises(
        ValueError, match='n must be from 1 to 26; got 27\nmodulus must be a prime from 2 to 113; got 9'
    ):
        tasks.make('linear_equations', n=27, modulus=9)
    largest = tasks.make('linear_equations', n=26)
    assert largest.grade(*largest.encode(largest.sample(np.random.default_rng(0), 3))).chain_correct.all()
    assert largest.locality() is None
