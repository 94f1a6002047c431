"""Arithmetic chains against Python's own parser, published examples, and exhaustive small cases."""

import ast
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.tasks import EOS
from effxf_jax.tasks.task import prompt_hash

PUBLISHED = [
    '8 - ( 9 * 1 + 9 / 7 - ( 1 - 7 ) ) = 8 - ( 9 * 1 + 9 / 7 - 5 ) = 8 - ( 9 * 1 + 6 - 5 ) = '
    '8 - ( 9 + 6 - 5 ) = 8 - ( 9 + 1 ) = 8 - 10 = 9',
    '1 * ( 9 - 6 ) + 7 * ( 4 + 1 ) + 2 = 1 * ( 9 - 6 ) + 7 * 5 + 2 = 1 * 3 + 7 * 5 + 2 = '
    '1 * 3 + 2 + 2 = 3 + 2 + 2 = 5 + 2 = 7',
]


def value(expression, modulus):
    """The value modulo a prime, by Python's grammar; ZeroDivisionError where there is none."""

    def of(node):
        match node:
            case ast.Expression(body):
                return of(body)
            case ast.Constant(number):
                return number
            case ast.BinOp(left, ast.Add(), right):
                return (of(left) + of(right)) % modulus
            case ast.BinOp(left, ast.Sub(), right):
                return (of(left) - of(right)) % modulus
            case ast.BinOp(left, ast.Mult(), right):
                return of(left) * of(right) % modulus
            case ast.BinOp(left, ast.Div(), right):
                divisor = of(right)
                if divisor == 0:
                    raise ZeroDivisionError
                return of(left) * pow(divisor, -1, modulus) % modulus
        raise ValueError(node)

    return of(ast.parse(expression, mode='eval'))


def row(task, text, end=True):
    """One line of text as a batch of one row, and which of its tokens are given."""
    ids = task.parse_text(text)
    tokens = np.zeros((1, task.max_length + 8), np.int32)
    tokens[0, : len(ids)] = ids
    tokens[0, len(ids)] = EOS if end else 0
    prompt = len(task.parse_text(text.partition('=')[0])) + 1
    return tokens, np.arange(tokens.shape[1])[None] < prompt


def grade(task, text, end=True):
    grades = task.grade(*row(task, text, end))
    return bool(grades.answer_correct[0]), bool(grades.chain_correct[0]), int(grades.first_wrong[0])


@given(
    n=st.integers(1, 7),
    modulus=st.sampled_from([2, 3, 11, 113]),
    order=st.sampled_from(['random', 'leftmost']),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_every_line_of_every_chain_has_the_value_of_the_answer(n, modulus, order, seed):
    task = tasks.make('arithmetic', n=n, modulus=modulus, order=order)
    problems = task.sample(np.random.default_rng(seed), 12)
    examples, answers = task.encode(problems), task.solve(problems).answer
    for tokens, answer in zip(examples.tokens, answers, strict=True):
        lines = task.decode_text(tokens).split(' = ')
        assert len(lines) == n + 1
        assert [value(line, modulus) for line in lines] == [answer] * (n + 1)
        operators = [sum(line.count(f' {o} ') for o in '+-*/') for line in lines]
        assert operators == list(range(n, -1, -1))
    assert task.grade(*examples).chain_correct.all()
    assert task.grade(*examples).answer_correct.all()


@pytest.mark.parametrize('text', PUBLISHED)
def test_published_chains_are_right(text):
    assert grade(tasks.make('arithmetic', n=6), text) == (True, True, -1)


@pytest.mark.parametrize(
    ('text', 'legal'),
    [
        ('5 + 7 + 8 = 1 + 8 = 9', True),
        ('5 + 7 + 8 = 5 + 4 = 9', True),  # the right end first, after a plus
        ('5 - 7 + 8 = 5 - 4 = 1', False),  # but not after a minus
        ('5 - 7 - 8 = 9 - 8 = 1', True),
        ('5 + 7 - 8 = 5 + 10 = 4', True),
        ('2 * 6 / 3 = 2 * 2 = 4', True),
        ('2 / 6 / 3 = 2 / 2 = 1', False),
        ('2 / 6 * 3 = 2 / 7 = 5', False),
        ('2 + 6 * 3 = 2 + 7 = 9', True),
        ('2 + 6 * 3 = 8 * 3 = 2', False),
        ('2 * 6 + 3 = 2 * 9 = 7', False),
        ('2 * ( 6 + 3 ) = 2 * 9 = 7', True),
        ('2 * ( 6 + 3 ) = 2 * ( 9 ) = 7', False),  # brackets vanish around a single number
        ('5 + 7 + 8 = 5 + 8 = 2', False),  # two orders mixed
    ],
)
def test_legality_is_that_of_precedence_and_associativity(text, legal):
    answer, chain, first_wrong = grade(tasks.make('arithmetic', n=2), text)
    assert chain is legal
    assert (first_wrong == -1) is legal


@pytest.mark.parametrize(
    ('text', 'answer', 'first_wrong'),
    [
        ('5 + 7 + 8 = 1 + 8 = 10', False, 10),  # wrong value at the end
        ('5 + 7 + 8 = 2 + 8 = 9', True, 6),  # wrong step, right answer
        ('5 + 7 + 8 = 1 - 8 = 9', True, 7),
        ('5 + 7 + 8 = 1 + 8 9', False, 9),  # separator missing
        ('5 + 7 + 8 = 9', True, 6),  # a step left out
        ('5 + 7 + 8 = 1 + 8 = 9 = 9', True, 11),  # one line too many
        ('5 + 7 + 8 = 1 + 8 = 9 9', False, 11),
        ('5 + 7 + 8 = 1 + 8', False, 9),
        ('5 + 7 + 8 =', False, 6),
        ('5 + 7 + = 1', False, 0),  # no expression
        ('5 + 7 = 1', False, 0),  # of another size
        ('5 / 0 + 1 = 0 + 1 = 1', False, 0),  # without a value
    ],
)
def test_the_first_token_with_which_no_right_chain_goes_on_is_found(text, answer, first_wrong):
    assert grade(tasks.make('arithmetic', n=2), text) == (answer, False, first_wrong)


def test_a_row_without_an_end_is_wrong_where_the_end_is_missing():
    assert grade(tasks.make('arithmetic', n=2), '5 + 7 + 8 = 1 + 8 = 9', end=False) == (False, False, 11)


def test_a_value_kept_by_coincidence_is_no_excuse():
    # Adding before multiplying is illegal also where it happens to give the right value.
    task = tasks.make('arithmetic', n=2)
    deceived = 0
    for a, b, c in itertools.product(range(11), repeat=3):
        wrong = f'{a} * {b} + {c} = {a} * {(b + c) % 11} = {a * (b + c) % 11}'
        if (a * b + c) % 11 == a * (b + c) % 11:
            deceived += 1
            assert grade(task, wrong)[:2] == (True, False)
    assert deceived > 100


def test_leftmost_order_allows_one_chain_only():
    either, leftmost = (tasks.make('arithmetic', n=2, order=order) for order in ('random', 'leftmost'))
    assert grade(either, '5 + 7 + 8 = 5 + 4 = 9')[1]
    assert grade(leftmost, '5 + 7 + 8 = 5 + 4 = 9') == (True, False, 6)
    assert grade(leftmost, '5 + 7 + 8 = 1 + 8 = 9')[1]
    # "Leftmost" skips what may not go first: here the sum waits for its product.
    assert grade(leftmost, '5 + 7 * 8 = 5 + 1 = 6')[1]


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_anything_at_all_may_stand_in_a_row(seed, data):
    task = tasks.make('arithmetic', n=3)
    examples = task.encode(task.sample(np.random.default_rng(seed), 4))
    length = data.draw(st.integers(8, task.max_length + 5))
    garbage = np.random.default_rng(seed).integers(0, task.vocabulary.size, (4, length))
    columns = np.arange(length) < task.max_length
    tokens = np.pad(examples.tokens, ((0, 0), (0, length)))[:, :length]
    is_given = np.pad(examples.given, ((0, 0), (0, length)))[:, :length] & columns
    mixed = np.where(is_given, tokens, garbage)
    for rows in mixed, garbage:
        grades = task.grade(rows, is_given)
        assert not np.any(grades.chain_correct & ~grades.answer_correct)
        assert np.array_equal(grades.chain_correct, grades.first_wrong == -1)


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_one_changed_token_is_wrong_there_or_later_or_begins_another_right_chain(seed, data):
    task = tasks.make('arithmetic', n=3)
    tokens, is_given = task.encode(task.sample(np.random.default_rng(seed), 1))
    place = data.draw(st.sampled_from(np.flatnonzero(~is_given[0] & (tokens[0] != 0)).tolist()))
    other = data.draw(st.integers(0, task.vocabulary.size - 1).filter(lambda t: t != tokens[0, place]))
    changed = tokens.copy()
    changed[0, place] = other
    grades = task.grade(changed, is_given)
    if not grades.chain_correct[0]:
        assert grades.first_wrong[0] >= place
    else:  # then every line still has the value of the whole
        lines = task.decode_text(changed[0]).split(' = ')
        assert len({value(line, 11) for line in lines}) == 1


@pytest.mark.parametrize(('n', 'size'), [(6, 85), (10, 221)])
def test_problem_sizes_are_the_papers(n, size):
    task = tasks.make('arithmetic', n=n)
    assert task.problem_size == size == task.max_length - 1


def test_the_longest_row_is_reached_and_never_exceeded():
    task = tasks.make('arithmetic', n=3)
    tokens = task.encode(task.sample(np.random.default_rng(0), 20_000)).tokens
    lengths = np.argmax(tokens == EOS, axis=1)
    assert lengths.max() == task.problem_size


def test_operations_are_drawn_as_published():
    # A number x is split by a uniform operator and left number, drawn again where these allow no right
    # number. At n = 1 and answer x != 0: 11 sums, 11 differences, 10 products, 10 quotients.
    task = tasks.make('arithmetic', n=1)
    problems = task.sample(np.random.default_rng(0), 400_000)
    answers = task.solve(problems).answer
    operators = problems.expressions.operators[:, 0]
    counts = np.bincount(operators[answers == 7], minlength=4)
    expected = np.array([11, 11, 10, 10]) / 42 * counts.sum()
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))
    # At answer 0: 11, 11, 10 + 1 (zero times anything), and 0 / b for the ten b other than 0, together
    # as likely as ten elevenths of one left number.
    counts = np.bincount(operators[answers == 0], minlength=4)
    expected = np.array([11, 11, 11, 10 / 11]) / (33 + 10 / 11) * counts.sum()
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))
    assert np.all(np.abs(np.bincount(answers) - 400_000 / 11) < 5 * np.sqrt(400_000 / 11))


def test_the_number_to_split_is_uniform():
    order = tasks.make('arithmetic', n=5).sample(np.random.default_rng(0), 50_000).order
    for step in range(5):
        counts = np.bincount(order[:, step], minlength=5 - step)
        assert len(counts) == 5 - step
        expected = 50_000 / (5 - step)
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_sampling_is_a_function_of_the_generators_state():
    task = tasks.make('arithmetic', n=4)
    first, second = (task.encode(task.sample(np.random.default_rng(5), 100)) for _ in range(2))
    np.testing.assert_array_equal(first.tokens, second.tokens)


def test_padding_does_not_change_a_prompts_hash_but_any_token_does():
    task = tasks.make('arithmetic', n=4)
    examples = task.encode(task.sample(np.random.default_rng(5), 1000))
    hashes = prompt_hash(examples)
    wider = type(examples)(*(np.pad(x, ((0, 0), (0, 9))) for x in examples))
    np.testing.assert_array_equal(prompt_hash(wider), hashes)
    prompts = {r[g].tobytes() for r, g in zip(*examples, strict=True)}
    assert len(set(hashes.tolist())) == len(prompts)


def test_unknown_words_are_named_with_their_place():
    with pytest.raises(ValueError, match="unknown token '12' at position 2"):
        tasks.make('arithmetic', n=1).parse_text('5 + 12 = 6')
    with pytest.raises(ValueError, match='unknown token'):
        tasks.make('arithmetic', n=1).parse_text('5 + <eos> = 6')


def test_every_impossible_option_is_named():
    with pytest.raises(ValueError) as error:
        tasks.make('arithmetic', n=0, modulus=9, order='rightmost')
    for part in 'n must be at least 1; got 0', 'prime from 2 to 113; got 9', "got 'rightmost'":
        assert part in str(error.value)
    with pytest.raises(ValueError, match='unknown task'):
        tasks.make('geometry', n=1)
    with pytest.raises(ValueError, match='no option'):
        tasks.make('arithmetic', n=1, m=2)
