"""The paper's exponents, by the class of a task and the mechanism."""

import math

from effxf_jax import tasks
from effxf_jax.attention import MECHANISMS
from effxf_jax.theory.theorems import WIDTH_EXPONENTS, width_exponent


def test_exponents_are_the_papers():
    text = lambda task, mechanism: width_exponent(tasks.TASKS[task], mechanism).text
    assert [text('lis', m) for m in ('standard', 'linear', 'sparse')] == ['0', '1/2', '1/2']
    assert [text('arithmetic', m) for m in ('standard', 'sparse')] == ['0', '0']
    linear = width_exponent(tasks.TASKS['arithmetic'], 'linear')
    assert (linear.least, linear.most) == (0.25, math.inf)  # the paper's open question
    assert width_exponent(tasks.TASKS['edit_distance'], 'linear').least == -math.inf


def test_nothing_is_claimed_where_the_paper_claims_nothing():
    assert width_exponent(tasks.TASKS['linear_equations'], 'standard') is None
    assert width_exponent(tasks.TASKS['lis'], 'sliding_window') is None


def test_every_class_and_mechanism_of_the_table_exists():
    assert set(WIDTH_EXPONENTS) == {kind.dp_class for kind in tasks.TASKS.values()} - {None}
    assert all(set(row) <= set(MECHANISMS) for row in WIDTH_EXPONENTS.values())
