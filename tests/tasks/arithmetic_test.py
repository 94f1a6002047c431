"""Arithmetic against Python's parser, its grader against all legal chains, its sampler against counts."""

import ast
import fractions
import itertools
import math
import operator as py_operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.tasks.arithmetic import ORDERS
from effxf_jax.tasks.task import EOS, row_length

EXAMPLES = (
    '8 - ( 9 * 1 + 9 / 7 - ( 1 - 7 ) ) = 8 - ( 9 * 1 + 9 / 7 - 5 ) = 8 - ( 9 * 1 + 6 - 5 ) = '
    '8 - ( 9 + 6 - 5 ) = 8 - ( 9 + 1 ) = 8 - 10 = 9',
    '1 * ( 9 - 6 ) + 7 * ( 4 + 1 ) + 2 = 1 * ( 9 - 6 ) + 7 * 5 + 2 = 1 * 3 + 7 * 5 + 2 = '
    '1 * 3 + 2 + 2 = 3 + 2 + 2 = 5 + 2 = 7',
)
sizes = pytest.mark.parametrize(
    'n, modulus', [(1, 11), (2, 11), (6, 11), (10, 11), (16, 11), (6, 5), (6, 113), (4, 2)]
)
PYTHON = {ast.Add: py_operator.add, ast.Sub: py_operator.sub, ast.Mult: py_operator.mul}


def value(text, modulus):
    """The value of an expression modulo a prime, as Python parses it; None where it divides by zero."""

    def of(node):
        if isinstance(node, ast.Constant):
            return node.value
        left, right = of(node.left), of(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Div):
            return left * pow(right, -1, modulus) % modulus if right % modulus else None
        return PYTHON[type(node.op)](left, right) % modulus

    return of(ast.parse(text, mode='eval').body)


def reductions(line, modulus):
    """All lines that one legal operation makes of a line, token by token from the rule of NOTES."""
    for at in range(1, len(line) - 1):
        operator, left, right = line[at], line[at - 1], line[at + 1]
        if operator not in '+-*/' or not (left.isdigit() and right.isdigit()):
            continue
        before = line[at - 2] if at >= 2 else None
        after = line[at + 2] if at + 2 < len(line) else None
        additive = before in (None, '(', '+') and after not in ('*', '/')
        legal = additive if operator in '+-' else before != '/'
        result = value(f'{left} {operator} {right}', modulus)
        if legal and result is not None:
            whole = before == '(' and after == ')'
            yield [*line[: at - 1 - whole], str(result), *line[at + 2 + whole :]]


def chains(first, modulus):
    """All legal chains from a first line to a number, as texts."""
    if len(first) == 1:
        return {first[0]}
    ends = itertools.chain.from_iterable(chains(line, modulus) for line in reductions(first, modulus))
    return {f'{" ".join(first)} = {end}' for end in ends}


def graded(task, *texts):
    rows = [np.append(task.parse_text(text), EOS) for text in texts]
    width = max(map(len, rows))
    tokens = np.stack([np.pad(row, (0, width - len(row))) for row in rows])
    return task.grade(tokens, np.zeros(tokens.shape, bool))


@sizes
@pytest.mark.parametrize('order', ['random', 'leftmost'])
def test_every_line_has_the_value_of_the_first_and_follows_by_one_legal_step(n, modulus, order):
    task = tasks.make('arithmetic', n=n, modulus=modulus, order=order)
    problems = task.sample(np.random.default_rng(0), 40)
    answers = task.solve(problems).answer
    for row, answer in zip(task.encode(problems).tokens, answers, strict=True):
        lines = [line.split() for line in task.decode_text(row).split(' = ')]
        assert len(lines) == n + 1
        assert lines[-1] == [str(answer)]
        for line in lines:
            assert value(' '.join(line), modulus) == answer
        for line, following in itertools.pairwise(lines):
            legal = list(reductions(line, modulus))
            assert following in legal
            assert order == 'random' or following == legal[0]


@sizes
def test_brackets_stand_only_where_the_meaning_needs_them(n, modulus):
    # Without them Python would parse another tree; and what is added needs them only in a product.
    task = tasks.make('arithmetic', n=n, modulus=modulus)
    for row in task.encode(task.sample(np.random.default_rng(0), 40)).tokens:
        first = task.decode_text(row).split(' = ')[0].split()
        opened = []
        for at, word in enumerate(first):
            if word == '(':
                opened.append(at)
            elif word == ')':
                start = opened.pop()
                without = [w for k, w in enumerate(first) if k not in (start, at)]
                tree, bare = (ast.dump(ast.parse(' '.join(words), mode='eval')) for words in (first, without))
                assert tree != bare
                added = start > 0 and first[start - 1] == '+'
                assert not added or first[at + 1 : at + 2] in (['*'], ['/'])


def test_the_published_examples_read_and_are_right():
    task = tasks.make('arithmetic', n=6)
    for text in EXAMPLES:
        assert task.diagnose(task.parse_text(text)) is None
    grade = graded(task, *EXAMPLES)
    assert grade.chain_correct.all()
    assert grade.answer_correct.all()
    direct = tasks.make('arithmetic', n=6, answer_mode='direct')
    for text in EXAMPLES:
        first, *_, last = text.split(' = ')
        assert direct.diagnose(direct.parse_text(f'{first} = {last}')) is None
        assert direct.diagnose(direct.parse_text(f'{first} = 10')).startswith('wrong value at position ')


def expressions(n, modulus):
    """All expressions of n operators, with each bracketing that leaves no operation bracketed twice."""
    if n == 0:
        yield from ((str(x),) for x in range(modulus))
        return
    for left_size in range(n):
        for left in expressions(left_size, modulus):
            for right in expressions(n - 1 - left_size, modulus):
                for operator in '+-*/':
                    for left_form, right_form in itertools.product(forms(left), forms(right)):
                        yield (*left_form, operator, *right_form)


def forms(expression):
    return [expression] if len(expression) == 1 else [expression, ('(', *expression, ')')]


@pytest.mark.parametrize('n, modulus', [(1, 11), (2, 3), (3, 2)])
def test_the_grader_accepts_exactly_the_legal_chains(n, modulus):
    task = tasks.make('arithmetic', n=n, modulus=modulus)
    numbers = [str(x) for x in range(modulus)]
    rng = np.random.default_rng(0)
    lines = sorted(set(expressions(n, modulus)))
    lines = [lines[i] for i in rng.permutation(len(lines))[:300]]
    for first in lines:
        right = chains(first, modulus)
        assert bool(right) == (value(' '.join(first), modulus) is not None)
        # Change each token of a right chain, or of a wrong one where there is none, into every number.
        tried = set(right)
        for text in list(right)[:3] or [' = '.join([' '.join(first), *['0'] * n])]:
            prompt_words = len(first) + 1
            words = text.split()
            for place in range(prompt_words, len(words)):
                tried |= {' '.join([*words[:place], x, *words[place + 1 :]]) for x in numbers}
        tried = sorted(tried)
        np.testing.assert_array_equal(graded(task, *tried).chain_correct, [text in right for text in tried])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 4), modulus=st.sampled_from([2, 3, 11]))
def test_a_corrupted_chain_is_another_legal_one_or_wrong_where_it_leaves_the_last_of_them(seed, n, modulus):
    task = tasks.make('arithmetic', n=n, modulus=modulus)
    rng = np.random.default_rng(seed)
    tokens, told = task.encode(task.sample(rng, 12))
    for _ in range(rng.integers(1, 4)):
        place = (rng.random(told.shape) * ~told).argmax(axis=1)
        tokens[np.arange(12), place] = rng.integers(task.vocabulary.size, size=12)
    grade = task.grade(tokens, told)
    for row, told_row, first_wrong in zip(tokens, told, grade.first_wrong, strict=True):
        first = task.decode_text(row[told_row]).split()[:-1]
        agrees = []
        for chain in chains(first, modulus):
            right = np.append(task.parse_text(chain), EOS)
            differs = np.flatnonzero(row[: len(right)] != right)
            agrees.append(differs[0] if len(differs) else -1)
        assert first_wrong == (-1 if -1 in agrees else max(agrees))


def test_legal_is_more_than_keeping_the_value():
    task = tasks.make('arithmetic', n=2)
    # 5 - 1 + 1 reduced from its right end, which a minus stands before; and 2 + 3 before a product of one.
    assert graded(task, '5 - 0 + 0 = 5 - 0 = 5').first_wrong[0] == 10 - 3
    assert graded(task, '2 + 3 * 1 = 5 * 1 = 5').first_wrong[0] == 6
    # But a + b - c may begin at b - c, and a * b / c at b / c; a / b * c may not begin at b * c.
    right = [
        '9 + 6 - 5 = 9 + 1 = 10',
        '9 + 6 - 5 = 4 - 5 = 10',
        '2 * 6 / 3 = 2 * 2 = 4',
        '2 * 6 / 3 = 1 / 3 = 4',
    ]
    assert graded(task, *right).chain_correct.all()
    assert graded(task, '8 / 2 * 1 = 8 / 2 = 4').first_wrong[0] == 7 - 1


def test_the_longest_row_is_one_nested_to_its_end():
    for n in range(1, 17):
        lines = []
        for k in range(n, 0, -1):  # 1 / ( 1 / ( 1 / 1 ) ) and so on
            lines.append(['1', *['/', '(', '1'] * (k - 1), '/', '1', *[')'] * (k - 1)])
        text = ' = '.join(' '.join(line) for line in [*lines, ['1']])
        task = tasks.make('arithmetic', n=n)
        assert task.diagnose(task.parse_text(text)) is None
        assert len(text.split()) == task.problem_size == 2 * n * n + 2 * n + 1
        assert tasks.make('arithmetic', n=n, answer_mode='direct').problem_size == 4 * n + 1


@pytest.mark.parametrize('n', [2, 3])
def test_the_longest_row_occurs(n):
    task = tasks.make('arithmetic', n=n)
    assert (
        row_length(task.encode(task.sample(np.random.default_rng(0), 20_000)).tokens).max()
        == task.problem_size
    )


def operations_of(value):
    """The chance of every `left operator right` of a value mod 11, from the published rejection [feng].

    A number and an operator are drawn evenly, and again unless some right operand makes the value; where any
    does, it is drawn too, and the whole again if it is a divisor of zero.
    """
    weights = {}
    for left in range(11):
        weights[left, '+', (value - left) % 11] = fractions.Fraction(1)
        weights[left, '-', (left - value) % 11] = fractions.Fraction(1)
        if left:
            weights[left, '*', value * pow(left, -1, 11) % 11] = fractions.Fraction(1)
        if left and value:
            weights[left, '/', left * pow(value, -1, 11) % 11] = fractions.Fraction(1)
    if value == 0:
        weights |= {(0, '*', right): fractions.Fraction(1, 11) for right in range(11)}
        weights |= {(0, '/', right): fractions.Fraction(1, 11) for right in range(1, 11)}
    total = sum(weights.values())
    return {operation: weight / total for operation, weight in weights.items()}


def test_single_operations_have_the_published_distribution():
    count = 200_000
    problems = tasks.make('arithmetic', n=1).sample(np.random.default_rng(0), count)
    numbers, operators = problems.expressions.numbers, problems.expressions.operators[:, 0]
    seen = np.zeros((11, 4, 11))
    np.add.at(seen, (numbers[:, 0], operators, numbers[:, 1]), 1)
    expected = np.zeros((11, 4, 11))
    for answer in range(11):
        for (left, operator, right), chance in operations_of(answer).items():
            expected[left, '+-*/'.index(operator), right] += chance / 11
    assert abs(expected.sum() - 1) < 1e-12
    assert (seen[expected == 0] == 0).all()
    assert (abs(seen - count * expected) <= 5 * np.sqrt(count * expected)).all()


def test_operators_and_numbers_have_the_published_frequencies_at_n_6():
    # An even choice among the numbers of a line makes expectations linear: each step takes away a number, of
    # the average distribution, and adds the two that it is split into.
    leaves, operators = np.full(11, 1 / 11), np.zeros(4)
    for k in range(6):
        chosen = leaves / (k + 1)
        for answer in range(11):
            leaves[answer] -= chosen[answer]
            for (left, operator, right), chance in operations_of(answer).items():
                leaves[[left]] += chosen[answer] * float(chance)
                leaves[[right]] += chosen[answer] * float(chance)
                operators['+-*/'.index(operator)] += chosen[answer] * float(chance)
    count = 40_000
    expressions = tasks.make('arithmetic', n=6).sample(np.random.default_rng(0), count).expressions
    for drawn, expected in (expressions.numbers, leaves), (expressions.operators, operators):
        seen = np.stack([(drawn == x).sum(axis=1) for x in range(len(expected))], axis=1)
        spread = seen.std(axis=0) / math.sqrt(count)
        assert (abs(seen.mean(axis=0) - expected) < 5 * spread).all()


def test_the_order_of_reduction_is_even_over_orders():
    # Splitting an even choice of k + 1 numbers at step k makes all orders of the n operators equally likely.
    count = 48_000
    order = tasks.make('arithmetic', n=4).sample(np.random.default_rng(0), count).order
    drawn, times = np.unique(order, axis=0, return_counts=True)
    assert len(drawn) == math.factorial(4)
    assert (abs(times - count / 24) < 5 * math.sqrt(count / 24)).all()


def test_malformed_expressions_are_told_apart():
    task = tasks.make('arithmetic', n=2)
    for text, diagnosis in {
        '1 + + 2 = 3': 'malformed prompt at position 2: + where a number or ( is expected',
        '1 + 2 ) * 3 = 9': 'malformed prompt at position 3: ) where an operator, ) or = is expected',
        '( 1 ) + 2 + 3 = 6': 'malformed prompt at position 2: ) where an operator, ) or = is expected',
        '( ( 1 + 2 ) ) + 3 = 6': 'malformed prompt at position 6: ) where an operator, ) or = is expected',
        '( 1 + 2 + 3 = 6': 'malformed prompt at position 6: = where an operator, ) or = is expected',
        '1 / ( 2 - 2 ) = 1 / 0': 'malformed prompt at position 0: the expression divides by zero',
        '1 + 2 + 3 + 4 = 10': 'malformed prompt at position 0: expression of 3 operators; this task has 2',
        '5 = 5': 'malformed prompt at position 0: expression of 0 operators; this task has 2',
        '1 + 2': 'truncated at position 3: the text ends within the prompt',
        '1 + 2 + 3 =': 'truncated at position 6, line 1: the text ends where 1 or 3 is expected',
    }.items():
        tokens = task.parse_text(text)
        assert task.diagnose(tokens) == diagnosis
        if not diagnosis.startswith('truncated at position 6'):
            assert graded(task, text).first_wrong[0] == 0
    assert task.diagnose(task.parse_text('( 1 + 2 * 3 ) = ( 1 + 6 ) = 7')) is None


def test_the_prompt_may_have_every_operation_in_brackets_and_nothing_behind():
    task = tasks.make('arithmetic', n=1)
    right = '( 1 + 2 ) = 3'
    assert graded(task, right).chain_correct[0]
    assert task.diagnose(task.parse_text(right)) is None
    for prompt in '( 1 + 2 ) 3', '( 1 + 2 ) + 3', '1 + 2 3 4 5 6 7 8 9':
        grade = graded(task, f'{prompt} = 3')
        assert grade.first_wrong[0] == 0
        assert not grade.answer_correct[0]


def test_options_out_of_range_are_all_named():
    with pytest.raises(
        ValueError, match=r"n must be .* got 0\nmodulus must be a prime .* got 9\norder must .*'up'"
    ):
        tasks.make('arithmetic', n=0, modulus=9, order='up')
    with pytest.raises(ValueError, match='got 127'):
        tasks.make('arithmetic', n=3, modulus=127)
    assert tasks.make('arithmetic', n=3, modulus=113).locality() is None


@pytest.mark.parametrize('order', ORDERS)
def test_more_operators_than_an_int8_counts_are_drawn_reduced_and_graded(order):
    task = tasks.make('arithmetic', n=130, order=order)
    problems = task.sample(np.random.default_rng(0), 3)
    assert (problems.order < 130 - np.arange(130)).all()
    assert (problems.order >= 0).all()
    assert task.grade(*task.encode(problems)).chain_correct.all()
