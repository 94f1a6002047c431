"""Leaving out zeros saves work and changes nothing that is written."""

import jax
import numpy as np
import pytest

from effxf_jax import decoding, tasks
from effxf_jax.constructions import catalogue, zeros
from effxf_jax.model import Transformer

CASES = [
    ('lis', {'n': 11}, 'fixed'),
    ('edit_distance', {'n': 5}, 'linear_table'),
]


def make(task, options, name):
    task = tasks.make(task, **options, **catalogue.CONSTRUCTIONS[task][name].task_options)
    compiled = catalogue.build(task, name)
    return task, compiled, task.encode(task.sample(np.random.default_rng(0), 16))


def scored(compiled, tokens):
    """Logits, and multiply-adds as the compiler counts them."""
    model = Transformer(compiled.config)
    run = (
        jax.jit(lambda params, x: model.apply({'params': params}, x)).lower(compiled.params, tokens).compile()
    )
    return np.asarray(run(compiled.params, tokens)), run.cost_analysis()['flops']


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case[0]}-{case[2]}')
def test_the_scores_of_what_is_written_stay_and_the_work_shrinks(case):
    task, compiled, (tokens, given) = make(*case)
    full, work = scored(compiled, tokens)
    with zeros.left_out(compiled.params):
        lean, less = scored(compiled, tokens)
        Transformer(compiled.config).init(
            jax.random.key(0), tokens[:1]
        )  # as a run does before it has weights
    written = ~given[:, 1:] & (tokens[:, 1:] > 0)
    best = full[:, :-1][written].max(axis=-1)
    np.testing.assert_allclose(lean[:, :-1][written].max(axis=-1), best, atol=0.5)
    np.testing.assert_array_equal(lean[:, :-1][written].argmax(-1), tokens[:, 1:][written])
    assert less < work / 3
    again, as_before = scored(compiled, tokens)  # outside the context
    assert as_before == work


def test_decoding_writes_the_right_rows():
    task, compiled, (tokens, given) = make(*CASES[1])
    with zeros.left_out(compiled.params):
        decoded = decoding.greedy_decode(Transformer(compiled.config), compiled.params, tokens, given)
    assert task.grade(np.asarray(decoded), given).chain_correct.all()


def test_parameters_that_are_no_zeros_are_all_used():
    _, compiled, (tokens, _) = make(*CASES[0])
    params = Transformer(compiled.config).init(jax.random.key(0), tokens)['params']
    params['blocks_0']['expand']['kernel'] = params['blocks_0']['expand']['kernel'].at[3:].set(0)
    compiled = compiled._replace(params=params)
    full, _ = scored(compiled, tokens)
    with zeros.left_out(params):
        lean, _ = scored(compiled, tokens)
    np.testing.assert_allclose(lean, full, rtol=1e-4, atol=1e-4)
