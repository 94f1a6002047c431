"""Cached greedy decoding is the argmax of the full forward pass, wherever tokens are given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax.decoding import _decode, greedy_decode, prefill_length
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import EOS, PAD

VOCAB, LENGTH, BATCH = 12, 37, 6
MECHANISMS = [
    'standard',
    'sparse',
    'sliding_window',
    'linear',
    'linear+linear+standard',
    'standard+sparse',
    'gated_linear+delta',
]


@functools.cache
def make(mechanism, eos_bias=0.0, conv_size=0):
    options = {'chunk_size': 8} if 'linear' in mechanism else {}
    layers = 1 + mechanism.count('+')
    config = ModelConfig(VOCAB, LENGTH, 32, 2, layers, mechanism, options=options, conv_size=conv_size)
    model = Transformer(config)
    params = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 1), jnp.int32))['params']
    params['head']['bias'] = params['head']['bias'].at[EOS].add(eos_bias)
    # Larger embeddings make choices depend on the context, and ties unlikely.
    params['embedding'] = jax.tree.map(lambda x: 2 * x, params['embedding'])
    return model, params


def ragged(seed, shortest=1, longest=15, mid_sequence=0.0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, VOCAB, (BATCH, LENGTH))
    given = np.arange(LENGTH) < rng.integers(shortest, longest + 1, (BATCH, 1))
    given |= rng.random((BATCH, LENGTH)) < mid_sequence
    given[:, 0] = True
    return tokens, given


def by_full_forward_passes(model, params, tokens, given):
    """The definition: the whole prefix again for every token; rows end at a free `<eos>`."""
    forward = jax.jit(lambda tokens: model.apply({'params': params}, tokens))
    out = np.where(given, tokens, PAD)
    ended = np.zeros(len(tokens), bool)
    for t in range(1, tokens.shape[1]):
        choice = np.asarray(forward(out))[:, t - 1].argmax(axis=-1)
        for row in range(len(tokens)):
            if not given[row, t]:
                out[row, t] = PAD if ended[row] else choice[row]
                ended[row] |= out[row, t] == EOS and not given[row, t:].any()
    return out


@pytest.mark.parametrize('mechanism', MECHANISMS)
@pytest.mark.parametrize('mid_sequence', [pytest.param(0.0, marks=pytest.mark.slow), 0.2])
def test_equals_the_argmax_of_the_full_forward_pass_for_ragged_prompts(mechanism, mid_sequence):
    model, params = make(mechanism, eos_bias=0.5)
    tokens, given = ragged(0, mid_sequence=mid_sequence)
    expected = by_full_forward_passes(model, params, tokens, given)
    np.testing.assert_array_equal(greedy_decode(model, params, tokens, given), expected)
    assert len(np.unique(expected[~given])) > 3


def test_a_convolution_before_the_mechanisms_is_decoded_with():
    model, params = make('standard+linear', eos_bias=0.5, conv_size=3)
    tokens, given = ragged(2, mid_sequence=0.2)
    expected = by_full_forward_passes(model, params, tokens, given)
    np.testing.assert_array_equal(greedy_decode(model, params, tokens, given), expected)


@pytest.mark.parametrize('shortest', [9, LENGTH])
def test_a_long_common_prompt_is_prefilled_and_a_whole_given_row_comes_back(shortest):
    model, params = make('sparse+linear')
    tokens, given = ragged(1, shortest=shortest, longest=LENGTH)
    given[0] = True
    out = greedy_decode(model, params, tokens, given)
    np.testing.assert_array_equal(out, by_full_forward_passes(model, params, tokens, given))
    np.testing.assert_array_equal(out[given], tokens[given])


def test_a_shorter_prefill_changes_nothing():
    model, params = make('standard')
    tokens, given = ragged(1, shortest=17, longest=30)
    assert prefill_length(given) == 16
    out = greedy_decode(model, params, tokens, given)
    np.testing.assert_array_equal(greedy_decode(model, params, tokens, given, prefill=8), out)
    for prefill, told in (0, given), (31, given), (LENGTH + 1, np.ones_like(given)):
        with pytest.raises(ValueError, match=f'prefill must be .* all rows are given; got {prefill}'):
            greedy_decode(model, params, tokens, told, prefill)


def test_what_stands_at_positions_not_given_is_ignored():
    model, params = make('standard')
    tokens, given = ragged(2, mid_sequence=0.1)
    garbled = np.where(given, tokens, 7)
    np.testing.assert_array_equal(
        greedy_decode(model, params, tokens, given), greedy_decode(model, params, garbled, given)
    )


def test_a_row_ends_at_its_first_free_eos_and_padding_follows():
    model, params = make('standard', eos_bias=1e6)
    tokens, given = ragged(4)
    out = greedy_decode(model, params, tokens, given)
    prompt = given.sum(axis=1)
    for row in range(BATCH):
        assert out[row, prompt[row]] == EOS
        assert np.all(out[row, prompt[row] + 1 :] == PAD)


def test_an_eos_with_something_given_after_it_does_not_end_the_row():
    model, params = make('standard', eos_bias=1e6)
    tokens, given = ragged(5)
    given[:, 30] = True
    out = greedy_decode(model, params, tokens, given)
    np.testing.assert_array_equal(out[:, 30], tokens[:, 30])
    assert np.all(out[:, 16:30] == EOS)
    assert np.all(out[:, 31] == EOS)
    assert np.all(out[:, 32:] == PAD)


@pytest.mark.parametrize(
    ('eos_bias', 'expected'),
    [(1e6, []), (-1e6, list(range(4, 32)))],  # the prefill ends every row; no row ever ends
)
def test_decoding_stops_when_every_row_has_ended(eos_bias, expected, monkeypatch):
    model, params = make('standard', eos_bias=eos_bias)
    tokens, given = ragged(6, shortest=4, longest=4)
    positions = []
    original = Transformer.step

    def recording(self, caches, token, position):
        jax.debug.callback(lambda p: positions.append(int(p)), position)
        return original(self, caches, token, position)

    monkeypatch.setattr(Transformer, 'step', recording)
    _decode.clear_cache()  # so that the recording is traced
    greedy_decode(model, params, tokens[:, :33], given[:, :33])
    jax.effects_barrier()
    _decode.clear_cache()
    assert sorted(positions) == sorted(2 * expected)  # six rows are shared out over two of the four devices


@pytest.mark.parametrize(
    ('tokens', 'given', 'message'),
    [
        (np.zeros((2, 5)), np.ones((2, 4)), r'one shape \[batch, length\]; got \(2, 5\), \(2, 4\)'),
        (np.zeros((2, 38)), np.ones((2, 38)), 'at most 37 tokens; got 38'),
        (np.zeros((2, 5)), np.zeros((2, 5)), 'first token of every row'),
        (np.zeros((0, 5)), np.zeros((0, 5)), 'one shape'),
        (np.full((2, 5), 10**6), np.ones((2, 5)), 'must be from 0 to .*; got 1000000'),
        (np.full((2, 5), -1), np.ones((2, 5)), 'must be from 0 to .*; got -1'),
    ],
)
def test_what_cannot_be_decoded_is_refused(tokens, given, message):
    model, params = make('standard')
    with pytest.raises(ValueError, match=message):
        greedy_decode(model, params, tokens, given)
