"""Mechanisms whose state decays or is overwritten, against float64 oracles of their recurrences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax.attention import delta, gated_linear
from effxf_jax.attention.kernels import chunks
from tests.attention.contract import (
    HEAD_DIM,
    HEADS,
    check_continues,
    check_finite,
    check_no_later_input_is_reached,
    check_values_and_gradients,
    random_inputs,
)

BATCH = 2
CASES = {
    'gated_off': gated_linear('off', 8),
    'gated_fixed': gated_linear('fixed', 8),
    'gated_learned': gated_linear('learned', 8),
    'gated_textbook': gated_linear('learned', 1),
    'gated_one_chunk': gated_linear('learned', 64),
    'delta_off': delta('off', chunk_size=8),
    'delta_fixed': delta('fixed', chunk_size=8),
    'delta_learned': delta('learned', chunk_size=8),
    'delta_negative': delta('learned', True, 8),
    'delta_textbook': delta('learned', chunk_size=1),
    'delta_one_chunk': delta('learned', chunk_size=64),
}
every_case = pytest.mark.parametrize('case', CASES)
learned = pytest.mark.parametrize('case', ['gated_learned', 'delta_learned', 'delta_negative'])
every_length = pytest.mark.parametrize('length', [1, 7, 37])


def oracle(case, *inputs):
    """The recurrence, token by token, in the inputs' own precision."""
    q, k, v, *others = inputs
    kind, gate = case.split('_', 1)
    rate = None
    if kind == 'delta':
        rate = jax.nn.sigmoid(others.pop(0)[..., 0]) * (2 if gate == 'negative' else 1)
        k = k / jnp.sqrt((k**2).sum(-1, keepdims=True) + 1e-6)
    if gate == 'off':
        decay = jnp.ones(q.shape[:3])
    elif gate == 'fixed':
        decay = jnp.ones(q.shape[:3]) * jnp.array([1 - 2.0**-5, 1 - 2.0**-6])
    else:
        decay = jax.nn.sigmoid(others.pop()[..., 0]) ** (1 / 16)
    state, out = jnp.zeros((BATCH, HEADS, HEAD_DIM, HEAD_DIM)), []
    for t in range(q.shape[1]):
        a, key, value = decay[:, t, :, None, None], k[:, t], v[:, t]
        outer = lambda x, y: x[..., :, None] * y[..., None, :]
        if rate is None:
            state = a * state + outer(key, value)
        else:
            b = rate[:, t, :, None, None]
            erased = jnp.eye(HEAD_DIM) - b * outer(key, key)
            state = a * erased @ state + b * outer(key, value)
        read = jnp.einsum('bhd,bhde->bhe', q[:, t], state)
        out.append(read / jnp.sqrt((read**2).mean(-1, keepdims=True) + 1e-6))
    return jnp.stack(out, axis=1)


def check_against_oracle(case, length, dtype=jnp.float32, rtol=2e-4, rtol_of_largest=2e-5):
    mechanism = CASES[case]
    inputs = [jnp.asarray(x, dtype) for x in random_inputs(mechanism, length)]
    cotangent = jnp.asarray(random_inputs(mechanism, length, seed=1)[0], dtype)
    check_values_and_gradients(
        mechanism.attend, functools.partial(oracle, case), inputs, cotangent, rtol, rtol_of_largest
    )


@every_case
@every_length
def test_attend_equals_the_float64_recurrence_values_and_gradients(case, length):
    check_against_oracle(case, length)


@learned
def test_bfloat16_inputs_give_bfloat16_values_and_gradients_near_the_recurrence(case):
    check_against_oracle(case, 37, jnp.bfloat16, rtol=1e-2, rtol_of_largest=1e-2)


@learned
def test_gradient_of_an_output_reaches_no_later_input(case):
    check_no_later_input_is_reached(CASES[case], random_inputs(CASES[case], 23), t=11)


@every_case
def test_prefill_and_step_continue_a_state_as_attend_would(case):
    check_continues(CASES[case], random_inputs(CASES[case], 13), rtol_of_cache=1e-4)


@pytest.mark.parametrize('make', [gated_linear, delta])
def test_a_gate_that_is_open_equals_no_gate_exactly(make):
    gated, ungated = make('learned', chunk_size=8), make('off', chunk_size=8)
    inputs = random_inputs(ungated, 37)
    opened = np.full((BATCH, 37, HEADS, 1), 200, np.float32)
    np.testing.assert_array_equal(jax.jit(gated.attend)(*inputs, opened), jax.jit(ungated.attend)(*inputs))


def test_a_write_at_the_full_rate_replaces_what_its_key_holds():
    mechanism = delta('off')
    rng = np.random.default_rng(0)
    shape = (BATCH, 1, HEADS, HEAD_DIM)
    key, first, second = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    k, v = np.concatenate([key, key], 1), np.concatenate([first, second], 1)
    rate = np.full((BATCH, 2, HEADS, 1), 40, np.float32)
    out = mechanism.attend(k, k, v, rate)
    np.testing.assert_allclose(out[:, :1], chunks.rms(first), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out[:, 1:], chunks.rms(second), rtol=1e-4, atol=1e-5)


@every_case
def test_values_and_gradients_stay_finite_for_extreme_inputs(case):
    check_finite(CASES[case], 150, scale=60.0, batch=BATCH)


@pytest.mark.slow
def test_values_and_gradients_stay_finite_over_long_sequences_without_a_gate():
    check_finite(delta('off', True), 2**14, scale=5.0)


@every_case
def test_the_state_has_a_fixed_size(case):
    mechanism = CASES[case]
    state = mechanism.init_cache(1, 100, HEADS, HEAD_DIM, jnp.bfloat16)
    assert state.key_value.size == mechanism.state_size(7, HEADS, HEAD_DIM) == HEADS * HEAD_DIM**2
    assert state.key_value.dtype == jnp.float32
    assert mechanism.memory(7).positions is None


@pytest.mark.parametrize(('length', 'chunk'), [(1, 1), (12, 4), (37, 5)])  # chunks alike, of at most 5
def test_cost_counts_the_pairs_of_chunks(length, chunk):
    same_chunk = [(q, k) for q in range(length) for k in range(q + 1) if q // chunk == k // chunk]
    earlier = [(q, k) for q, k in same_chunk if k < q]
    of_state, of_pair = length * HEAD_DIM**2, len(same_chunk) * HEAD_DIM
    # Writes and reads of the state; scores and scaled values.
    gated = gated_linear(chunk_size=5).cost(length, HEADS, HEAD_DIM)
    assert gated.macs == HEADS * (2 * of_state + 2 * of_pair)
    # Also what a key holds; the keys' products, and in the triangular system two scaled rows for each pair.
    overwriting = delta(chunk_size=5).cost(length, HEADS, HEAD_DIM)
    assert overwriting.macs == HEADS * (3 * of_state + 3 * of_pair + 2 * len(earlier) * HEAD_DIM)
    # Queries, keys, values and outputs, the gates and the rates, and the state.
    numbers = 4 * length * HEAD_DIM + length + HEAD_DIM**2
    assert gated.bytes == 4 * HEADS * numbers
    assert overwriting.bytes == 4 * HEADS * (numbers + length)


def test_what_is_out_of_range_is_refused():
    for make in gated_linear, delta:
        with pytest.raises(ValueError, match="gate must be one of off, fixed, learned; got 'open'"):
            make('open')
        with pytest.raises(ValueError, match='chunk_size must be at least 1; got 0'):
            make(chunk_size=0)
        q, k, v, *others = random_inputs(make(), 5)
        with pytest.raises(ValueError, match=r'\(2, 4, 2, 8\)'):
            make().attend(q, k[:, :4], v, *others)
