"""A convolution before a mechanism is the mechanism on convolved queries, keys and values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import attention
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.theory import complexity
from tests.attention.contract import HEAD_DIM, HEADS, check_continues, random_inputs

BATCH = 2
INNER = {
    'standard': attention.standard(),
    'sparse': attention.sparse(4, 1),
    'window': attention.sliding_window(5),
    'linear': attention.linear(chunk_size=8),
    'delta': attention.delta(chunk_size=8),
    'lsh': attention.lsh(2, 4, 4),
}
COUNTS = {'lsh': 2}  # inputs that are convolved; of the others q, k and v


def random_taps(size, count=3):
    return np.random.default_rng(1).normal(size=(size, count, HEADS, HEAD_DIM)).astype(np.float32)


def convolution(x, weights):
    """y[t] = sum over i of weights[i] x[t - i], term by term."""
    out = np.zeros_like(x)
    for t in range(x.shape[1]):
        for i in range(min(len(weights), t + 1)):
            out[:, t] += weights[i] * x[:, t - i]
    return out


@pytest.mark.parametrize(
    ('name', 'length', 'size'),
    [
        (name, length, size)
        for name in INNER
        for length, size in ([(1, 4), (3, 4), (23, 4), (23, 1), (9, 2)] if name != 'lsh' else [(23, 4)])
    ],
)
def test_attend_is_the_mechanism_of_the_convolved_inputs(name, length, size):
    mechanism = INNER[name]
    inputs, count = random_inputs(mechanism, length), COUNTS.get(name, 3)
    weights = random_taps(size, count)
    convolved = [convolution(x, weights[:, i]) for i, x in enumerate(inputs[:count])]
    expected = mechanism.attend(*convolved, *inputs[count:])
    actual = jax.jit(attention.convolved(mechanism, size).attend)(*inputs, weights)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('name', 'size'), [*((name, 4) for name in INNER), ('standard', 1), ('delta', 1)])
def test_prefill_and_step_continue_a_cache_as_attend_would(name, size):
    mechanism = attention.convolved(INNER[name], size)
    stretches = [13], [2, 1, 10], [5, 8]
    check_continues(
        mechanism, random_inputs(mechanism, 13), [random_taps(size, COUNTS.get(name, 3))], stretches, 1e-4
    )


def test_bfloat16_stays_bfloat16():
    mechanism = attention.convolved(attention.standard(), 4)
    inputs, weights = random_inputs(mechanism, 9), random_taps(4)
    halves = [jnp.asarray(x, jnp.bfloat16) for x in inputs]
    out = mechanism.attend(*halves, weights)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(out, np.float32), mechanism.attend(*inputs, weights), rtol=0.1, atol=0.1
    )
    cache = mechanism.init_cache(BATCH, 9, HEADS, HEAD_DIM, jnp.bfloat16)
    after, _ = mechanism.step(cache, *(x[:, 0] for x in halves), weights)
    assert jax.tree.map(jnp.dtype, after) == jax.tree.map(jnp.dtype, cache)


def test_what_it_sees_and_costs_is_the_mechanisms_and_the_last_positions():
    plain, size = attention.sliding_window(5), 4
    mechanism = attention.convolved(plain, size)
    assert mechanism.memory(20).positions == plain.memory(20).positions + 3
    assert mechanism.memory(2).positions == 2
    assert mechanism.memory(20).name == 'the window and the last 3 positions'
    assert mechanism.state_size(20, 2, 8) == plain.state_size(20, 2, 8) + 3 * 3 * 16
    assert attention.convolved(attention.linear(), size).memory(20).positions is None
    assert mechanism.cost(20, 2, 8).macs == plain.cost(20, 2, 8).macs + 4 * 3 * 20 * 16


def test_a_model_has_it_in_every_layer_and_counts_its_parameters():
    config = ModelConfig(13, 20, 16, 2, 2, 'linear+sparse', conv_size=4)
    params = Transformer(config).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))['params']
    assert {params[f'blocks_{i}']['convolution'].shape for i in range(2)} == {(4, 3, 2, 8)}
    assert np.abs(params['blocks_0']['convolution']).max() <= 0.5
    assert complexity.num_params(config) == sum(x.size for x in jax.tree.leaves(params))


def test_what_cannot_be_convolved_is_refused():
    with pytest.raises(ValueError, match='at least 1; got 0'):
        attention.convolved(attention.standard(), 0)
    other = attention.standard()._replace(projections=(attention.Projection('rates', size=1),))
    with pytest.raises(ValueError, match='inputs of head_dim features come first'):
        attention.convolved(other, 4)
    with pytest.raises(ValueError, match='conv_size must be at least 0; got -1'):
        ModelConfig(13, 20, conv_size=-1)
