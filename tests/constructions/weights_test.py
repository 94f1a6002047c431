"""A run can begin with a construction's weights, exact or with noise."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from effxf_jax import tasks
from effxf_jax.constructions import catalogue, weights
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.model import Transformer, roles
from experiments import configs, construct

TASK = tasks.make('edit_distance', n=4, lengths='equal')
CONFIG = 'experiments/ed.py:smoke,n=4,num_heads=4,optimizer=adamw'


@functools.cache
def compiled():
    return catalogue.build(TASK, 'standard')


def noisy(noise, seed=0):
    return weights.params(TASK, compiled().config, 'standard', noise, seed)


def leaves(params):
    return [np.asarray(x) for x in jax.tree.leaves(params)]


def test_noise_is_relative_and_of_matrices_only():
    exact, disturbed = leaves(compiled().params), leaves(noisy(0.01))
    matrices = [bool(r.matrices or r.is_head) for r in leaves_of_roles()]
    assert sum(matrices) == 4 * compiled().config.num_layers + 1
    ratios = []
    for is_matrix, before, after in zip(matrices, exact, disturbed, strict=True):
        assert after.dtype == before.dtype == np.float32
        if is_matrix:
            np.testing.assert_array_equal(after[before == 0], 0)
            ratios.append(after[before != 0] / before[before != 0] - 1)
        else:
            np.testing.assert_array_equal(after, before)
    ratios = np.concatenate(ratios)
    assert ratios.size > 150
    assert abs(ratios.mean()) < 0.003
    assert 0.008 < ratios.std() < 0.012


def leaves_of_roles():
    return jax.tree.leaves(roles(compiled().config)(compiled().params))


def test_the_seed_decides_the_noise_and_without_noise_the_weights_are_exact():
    for same, one, other in (
        (True, noisy(0.01, 3), noisy(0.01, 3)),
        (False, noisy(0.01, 3), noisy(0.01, 4)),
        (True, noisy(0.0), compiled().params),
    ):
        assert all(map(np.array_equal, leaves(one), leaves(other))) == same


def test_weights_that_would_read_the_coordinates_of_layer_norm_do_no_harm():
    config, params = compiled().config, jax.tree.map(np.array, compiled().params)
    rng = np.random.default_rng(0)
    for i in range(config.num_layers):
        for part in ('qkv', 'expand'):
            kernel = params[f'blocks_{i}'][part]['kernel']
            kernel[:3] = rng.standard_normal(kernel[:3].shape)
    params['head']['kernel'][:3] = rng.standard_normal(params['head']['kernel'][:3].shape)
    tokens = TASK.encode(TASK.sample(rng, 4)).tokens
    logits = lambda params: Transformer(config).apply({'params': params}, tokens)
    np.testing.assert_array_equal(logits(params), logits(compiled().params))


def test_the_right_token_is_certain():
    examples = TASK.encode(TASK.sample(np.random.default_rng(1), 8))
    assert 0.9 < construct.score_margin(compiled(), examples) <= 1.0
    logits = Transformer(compiled().config).apply({'params': compiled().params}, examples.tokens)
    chances = jax.nn.softmax(logits[:, examples.given.sum(1)[0] - 1 : -1])
    assert chances.max(axis=-1).min() > 0.999


def test_a_model_that_the_weights_do_not_fit_is_refused():
    config = compiled().config
    for change, message in (
        ({'num_layers': 4}, 'standard is for a model with num_layers=3; got 4'),
        ({'positions': 'sinusoidal'}, 'positions=learned; got sinusoidal'),
        ({'mechanism': 'linear'}, 'mechanism=standard; got linear'),
        ({'dtype': 'bfloat16'}, 'dtype=float32; got bfloat16'),
        ({'dropout': 0.1}, 'dropout=0.0; got 0.1'),
        ({'dim': 16}, 'needs a width of 32'),
    ):
        with pytest.raises(ConstructionError, match=message):
            weights.check(TASK, dataclasses.replace(config, **change), 'standard')
    for overrides, message in (
        ('start=standard', 'run: the construction standard is of edit_distance with lengths'),
        ('start=magic,lengths=equal', "run: construction must be one of standard, .*; got 'magic'"),
        ('start_noise=0.1', "run: start_noise requires a construction as start; got 'random'"),
        ('start=standard,start_noise=-1.0', 'run: start_noise must be at least 0 and finite; got -1.0'),
    ):
        with pytest.raises(configs.ConfigError) as caught:
            configs.make_experiment(configs.load(f'{CONFIG},{overrides}'))
        (problem,) = caught.value.problems
        assert re.match(message, problem)
