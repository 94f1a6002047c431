"""A formula's value is Python's own, and whatever is no formula has a reason."""

import contextlib
import os
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax.gsm8k import formulas

EXAMPLES = int(os.environ.get('EFFXF_EXAMPLES', '80'))
many = settings(max_examples=EXAMPLES, deadline=None, database=None)

MULTIPLY, DIVIDE, MINUS = '\N{MULTIPLICATION SIGN}', '\N{DIVISION SIGN}', '\N{MINUS SIGN}'


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('6*7', 42),
        ('2+3*4-10/4', Fraction(23, 2)),
        ('100-20-30', 50),
        ('60/4/3', 5),
        ('(2+3)*(4-1)', 15),
        ('7//2', 3),
        ('-7//2', -4),
        ('.5*3', Fraction(3, 2)),
        ('1,250+0.75', Fraction(5003, 4)),
        ('$12 x 3', 36),
        (f'12 {MULTIPLY} 3 {DIVIDE} 9 {MINUS} 1', 3),
        ('80*25%', 20),
        ('(10+15)%', Fraction(1, 4)),
        ('5%%', Fraction(1, 2000)),
        ('-3+-4', -7),
        ('--+2', 2),
        ('3/4', Fraction(3, 4)),
        ('0.1+0.2', Fraction(3, 10)),
    ],
)
def test_values_are_exact(text, value):
    assert formulas.parse(text).value == value


def test_operands_have_their_offsets_and_no_sign():
    parsed = formulas.parse('$1,250 - (20% + .5)')
    assert parsed.operands == ((1250, 1), (Fraction(1, 5), 10), (Fraction(1, 2), 16))
    assert parsed.notations == {
        'currency', 'comma between thousands', 'parentheses', 'percent', 'no digit before the point',
    }  # fmt: skip
    assert formulas.parse('-5').operands == ((5, 1),)
    assert formulas.parse('12+3').notations == set()


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'no formula'),
        ('  ', 'no formula'),
        ('5 hours', "the word 'hours'"),
        ('2^3', "the character '^'"),
        ('2**3', "no number before '*'"),
        ('(1+2', 'a parenthesis is not closed'),
        ('1+2)', 'closed that was not opened'),
        ('(1 2)', 'no operator between'),
        ('1 2', "no operator before '2'"),
        ('2(3)', "no operator before '('"),
        ('()', "no number before ')'"),
        ('1/0', 'division by zero'),
        ('1//(2-2)', 'division by zero'),
        ('1+', 'no number at the end'),
        ('$', 'no number at the end'),
        ('1,25', "the character ','"),
        ('5.', "the character '.'"),
        ('\u0663', 'is no part of a formula'),
        ('1' * 31, 'over 30 digits'),
        ('1+' * 100 + '1', '201 characters; at most 200'),
        ('(' * 21 + '1' + ')' * 21, 'over 20 parentheses'),
        ('__import__("os")', 'is no part of a formula'),
    ],
)
def test_what_is_no_formula_has_a_reason(text, reason):
    with pytest.raises(formulas.FormulaError) as caught:
        formulas.parse(text)
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)


def test_limits_are_reached():
    assert formulas.parse('1' * 30).value == int('1' * 30)
    assert formulas.parse('(' * 20 + '1' + ')' * 20).value == 1
    assert formulas.parse('-' * 199 + '1').value == -1


@st.composite
def trees(draw, depth=3):
    """An expression tree as a text and as a function that computes it with Python's fractions."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        value = draw(st.one_of(st.integers(0, 99), st.sampled_from(['0.25', '.5', '1,250', '7%'])))
        text = str(value)
        exact = Fraction(text.replace(',', '').rstrip('%')) / (100 if '%' in text else 1)
        return text, lambda: exact
    (left, of_left), (right, of_right) = draw(trees(depth=depth - 1)), draw(trees(depth=depth - 1))
    operator = draw(st.sampled_from(['+', '-', '*', '/', '//', 'negated']))
    if operator == 'negated':
        return f'-({left})', lambda: -of_left()
    compute = {
        '+': lambda: of_left() + of_right(),
        '-': lambda: of_left() - of_right(),
        '*': lambda: of_left() * of_right(),
        '/': lambda: of_left() / of_right(),
        '//': lambda: Fraction(of_left() // of_right()),
    }[operator]
    return f'({left}) {operator} ({right})', compute


@many
@given(trees())
def test_any_tree_has_the_value_that_python_computes(tree):
    text, compute = tree
    if len(text) > formulas.MAX_LENGTH:
        return
    try:
        expected = compute()
    except ZeroDivisionError:
        with pytest.raises(formulas.FormulaError, match='zero'):
            formulas.parse(text)
        return
    assert formulas.parse(text).value == expected


@many
@given(numbers=st.lists(st.integers(1, 99), min_size=2, max_size=9), data=st.data())
def test_a_flat_formula_has_the_precedence_of_python(numbers, data):
    operators = [data.draw(st.sampled_from(['+', '-', '*', '/'])) for _ in numbers[1:]]
    text = str(numbers[0]) + ''.join(f'{o}{n}' for o, n in zip(operators, numbers[1:], strict=True))
    # Products first, from left to right, then the sum.
    terms = [(1, Fraction(numbers[0]))]
    for operator, number in zip(operators, numbers[1:], strict=True):
        sign, value = terms[-1]
        if operator in '*/':
            terms[-1] = sign, value * number if operator == '*' else value / number
        else:
            terms.append((1 if operator == '+' else -1, Fraction(number)))
    assert formulas.parse(text).value == sum(sign * value for sign, value in terms)


@many
@given(st.text(alphabet='0123456789.,+-*/()%$x =ab\u00d7\u00f7\n', max_size=40))
def test_any_text_has_a_value_or_a_reason(text):
    with contextlib.suppress(formulas.FormulaError):
        assert isinstance(formulas.parse(text).value, Fraction)
