"""The Transformer is causal, is initialised as in PyTorch, and refuses impossible sizes."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import attention
from effxf_jax.model import ModelConfig, Role, Transformer, dropout, roles
from effxf_jax.model.transformer import sinusoids
from effxf_jax.theory import complexity

MECHANISMS = ['standard', 'sparse', 'linear', 'linear+linear+standard', 'sparse+linear', 'gated_linear+delta']
SIZES = {'vocab_size': 13, 'max_length': 30, 'dim': 16, 'num_heads': 2}


def make(mechanism='standard', **sizes):
    sizes = {'num_layers': 1 + mechanism.count('+'), **sizes}
    model = Transformer(ModelConfig(**{**SIZES, 'mechanism': mechanism, **sizes}))
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))['params']


@functools.partial(jax.jit, static_argnames=('model', 'deterministic'))
def apply(model, params, tokens, **kwargs):
    return model.apply({'params': params}, tokens, **kwargs)


@pytest.mark.parametrize('mechanism', MECHANISMS)
def test_gradient_of_a_logit_reaches_no_later_token(mechanism):
    model, params = make(mechanism)
    tokens = jax.random.randint(jax.random.key(1), (1, 17), 0, 13)
    table = params['embedding']['embedding']

    # A table with a row of its own for every position tells which positions a logit depends on.
    def logit(rows):
        extended = {**params, 'embedding': {'embedding': jnp.concatenate([table, rows])}}
        wide = Transformer(dataclasses.replace(model.config, vocab_size=13 + 17))
        extended['head'] = {
            'kernel': jnp.pad(params['head']['kernel'], ((0, 0), (0, 17))),
            'bias': jnp.pad(params['head']['bias'], (0, 17)),
        }
        return wide.apply({'params': extended}, 13 + jnp.arange(17)[None])[0, 8, :13].sum()

    gradient = jax.jit(jax.grad(logit))(table[tokens[0]])
    assert np.all(gradient[9:] == 0)
    assert np.any(gradient[8] != 0)
    assert np.any(gradient[:8] != 0)


@pytest.mark.parametrize('mechanism', MECHANISMS)
def test_logits_are_float32_and_do_not_depend_on_what_follows(mechanism):
    model, params = make(mechanism)
    tokens = jax.random.randint(jax.random.key(1), (3, 30), 0, 13)
    whole = apply(model, params, tokens)
    assert whole.shape == (3, 30, 13)
    assert whole.dtype == jnp.float32
    part = apply(model, params, tokens[:, :11])
    np.testing.assert_allclose(whole[:, :11], part, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('positions', ['sinusoidal', 'learned'])
def test_logits_are_those_of_a_pre_ln_transformer_written_out(positions):
    model, params = make(num_layers=2, positions=positions)
    # Biases and scales away from where they start, or leaving one out would not show.
    leaves, structure = jax.tree.flatten(params)
    random = np.random.default_rng(0)
    leaves = [np.asarray(x) + 0.3 * random.normal(size=x.shape).astype(np.float32) for x in leaves]
    params = jax.tree.unflatten(structure, leaves)
    tokens = random.integers(13, size=11)

    def normed(p, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p['scale'] + p['bias']

    def linear(p, x):
        return x @ p['kernel'].astype(float) + p['bias']

    def attention(q, k, v):
        scores = np.where(np.tri(11), q @ k.T / np.sqrt(8), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True) @ v

    def gelu(x):
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    table = params['positions'] if positions == 'learned' else sinusoids(30, 16)
    x = normed(params['embedding_norm'], params['embedding']['embedding'][tokens] + table[:11])
    for block in params['blocks_0'], params['blocks_1']:
        qkv = linear(block['qkv'], normed(block['attention_norm'], x))
        q, k, v = (np.split(part, 2, axis=-1) for part in np.split(qkv, 3, axis=-1))
        x = x + linear(block['attention_out'], np.concatenate(list(map(attention, q, k, v)), axis=-1))
        x = x + linear(
            block['contract'], gelu(linear(block['expand'], normed(block['feed_forward_norm'], x)))
        )
    expected = linear(params['head'], normed(params['final_norm'], x))
    np.testing.assert_allclose(apply(model, params, tokens[None])[0], expected, rtol=1e-4, atol=1e-4)


def test_layers_take_a_mixtures_mechanisms_in_turn():
    config = ModelConfig(**SIZES, num_layers=5, mechanism='linear+standard')
    assert [m.complexity for m in config.mechanisms()] == ['L(C + D/H)D', 'L²D'] * 2 + ['L(C + D/H)D']


def test_configs_that_mean_the_same_model_are_equal_however_they_were_written():
    plain = ModelConfig(**SIZES, mechanism='sparse')
    assert plain == ModelConfig(**SIZES, mechanism='sparse', options={'pattern': 'fixed', 'block_size': None})
    assert hash(plain) == hash(ModelConfig(**SIZES, mechanism='sparse', options={'summary_size': 1}))
    assert plain != ModelConfig(**SIZES, mechanism='sparse', options={'block_size': 4})


def test_linear_layers_start_uniform_within_one_over_the_root_of_their_inputs():
    _, params = make(dim=64)
    for name, inputs in ('qkv', 64), ('attention_out', 64), ('expand', 64), ('contract', 256):
        for leaf in params['blocks_0'][name].values():
            bound = inputs**-0.5
            assert np.abs(leaf).max() <= bound
            if leaf.size > 1000:
                assert np.abs(leaf).max() > 0.99 * bound
                assert abs(np.std(leaf) - bound / 3**0.5) < 0.02 * bound
    assert abs(np.std(params['embedding']['embedding']) - 1) < 0.1


def test_number_of_parameters_is_that_of_the_predecessors_model():
    _, params = make(dim=64, num_layers=3)
    layer = (64 * 192 + 192) + (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64) + 2 * 128
    expected = 13 * 64 + 128 + 3 * layer + 128 + (64 * 13 + 13)
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_positions_are_sines_and_cosines_of_falling_frequency():
    table = sinusoids(50, 8)
    for position, pair in (0, 0), (7, 1), (49, 3):
        angle = position / 10_000 ** (2 * pair / 8)
        np.testing.assert_allclose(table[position, 2 * pair], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(table[position, 2 * pair + 1], np.cos(angle), atol=1e-6)


def test_dropout_needs_asking_for_and_a_key():
    model, params = make(dropout=0.5)
    tokens = jnp.arange(10)[None]
    plain, again = (apply(model, params, tokens) for _ in range(2))
    np.testing.assert_array_equal(plain, again)
    drop = lambda seed: apply(
        model, params, tokens, deterministic=False, rngs={'dropout': jax.random.key(seed)}
    )
    np.testing.assert_array_equal(drop(0), drop(0))
    assert not np.allclose(drop(0), drop(1))


def test_the_embedding_and_every_branch_drop_numbers_of_their_own(monkeypatch):
    keys = []

    def keep_all(key, shape, rate, first_row):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return jnp.ones(shape, bool)

    monkeypatch.setattr(dropout, 'keep_mask', keep_all)
    model, params = make(dropout=0.5, num_layers=2)
    with jax.disable_jit():
        tokens = jnp.arange(10)[None]
        model.apply({'params': params}, tokens, deterministic=False, rngs={'dropout': jax.random.key(0)})
    assert len(set(keys)) == len(keys) == 1 + 2 * 2


def test_bfloat16_activations_stay_near_float32():
    model, params = make()
    half = Transformer(dataclasses.replace(model.config, dtype='bfloat16'))
    tokens = jnp.arange(12)[None]
    full_logits, half_logits = (apply(m, params, tokens) for m in (model, half))
    assert half_logits.dtype == jnp.float32
    np.testing.assert_allclose(half_logits, full_logits, atol=0.1)


def test_a_sequence_longer_than_the_model_is_refused():
    model, params = make()
    with pytest.raises(ValueError, match='at most 30 tokens; got 31'):
        model.apply({'params': params}, jnp.zeros((1, 31), jnp.int32))


def test_every_impossible_size_is_named_at_once():
    with pytest.raises(ValueError) as error:
        ModelConfig(
            vocab_size=9, max_length=9, dim=15, num_heads=4, dropout=1.0, mechanism='cubic', dtype='int8'
        )
    for part in 'divisible by num_heads; got dim 15', 'even', 'dropout', "'cubic'", "'int8'":
        assert part in str(error.value)


class _Before(NamedTuple):
    """The value before, float32 `[batch, heads, head_dim]`."""

    before: jax.Array


def _taps(init, decays=False):
    return attention.Parameter('taps', lambda heads, head_dim: (2, heads, head_dim), init, decays)


def _short_convolution():
    """A causal convolution of two values with a learned kernel `[2, heads, head_dim]`; no queries or keys."""

    def attend(values, kernel):
        return kernel[0] * values + kernel[1] * jnp.pad(values, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]

    def step(cache, value, kernel):
        return _Before(value), kernel[0] * value + kernel[1] * cache.before

    def prefill(cache, values, kernel):
        out = attend(values, kernel)
        return _Before(values[:, -1]), out.at[:, 0].add(kernel[1] * cache.before)

    return attention.Mechanism(
        attend=attend,
        init_cache=lambda batch, length, heads, head_dim, dtype: _Before(jnp.zeros((batch, heads, head_dim))),
        step=step,
        prefill=prefill,
        cost=lambda length, heads, head_dim: attention.Cost(2 * length * heads * head_dim, 0),
        memory=lambda length: attention.Memory('the value before', 1),
        state_size=lambda length, heads, head_dim: heads * head_dim,
        complexity='LD',
        at_length=lambda max_length: _short_convolution(),
        projections=(attention.Projection('values'),),
        parameters=(
            attention.Parameter(
                'taps', lambda heads, head_dim: (2, heads, head_dim), nn.initializers.normal(1.0)
            ),
        ),
    )


def test_a_mechanisms_own_parameters_are_learned_decoded_with_costed_and_spared_from_decay(monkeypatch):
    monkeypatch.setitem(attention.MECHANISMS, 'convolution', _short_convolution)
    model, params = make('convolution', num_layers=1)
    assert params['blocks_0']['taps'].shape == (2, 2, 8)
    tokens = jax.random.randint(jax.random.key(1), (2, 6), 0, 13)
    logits = apply(model, params, tokens)
    gradient = jax.jit(jax.grad(lambda p: model.apply({'params': p}, tokens).sum()))(params)
    assert np.any(np.asarray(gradient['blocks_0']['taps']) != 0)

    run = functools.partial(model.apply, {'params': params})
    caches, first = run(run(2, 6, method='init_cache'), tokens[:, :3], 0, method='prefill')
    written = [first]
    for t in range(3, 6):
        caches, at_t = run(caches, tokens[:, t], jnp.int32(t), method='step')
        written.append(at_t[:, None])
    np.testing.assert_allclose(jnp.concatenate(written, axis=1), logits, rtol=1e-4, atol=1e-5)

    assert roles(model.config)(params)['blocks_0']['taps'] == Role(decays=False)
    decays = _taps(jnp.ones, decays=True)
    decaying = lambda: _short_convolution()._replace(
        parameters=(decays,), at_length=lambda max_length: decaying()
    )
    monkeypatch.setitem(attention.MECHANISMS, 'convolution', decaying)
    assert roles(model.config)(params)['blocks_0']['taps'] == Role(decays=True)
    projections = complexity.forward_cost(model.config).projections
    layer = params['blocks_0']
    own = (layer['values'], layer['attention_out'], layer['attention_norm'], layer['taps'])
    numbers = sum(x.size for x in jax.tree.leaves(own))
    length, dim = model.config.max_length, model.config.dim
    assert projections.bytes == 4 * (numbers + length * dim * 4)
