"""Dropout drops its share, independently of other randomness and under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax.model.dropout import Dropout, keep_mask

SHAPE = (64, 50, 40)


def masks(count, rate=0.1, shape=SHAPE):
    return np.stack([keep_mask(key, shape, rate) for key in jax.random.split(jax.random.key(0), count)])


@pytest.mark.parametrize('rate', [0.1, 0.5, 0.9])
def test_the_share_dropped_is_the_rate_overall_and_in_every_row_and_column(rate):
    dropped = 1 - masks(4, rate).astype(np.float64)
    deviation = np.sqrt(rate * (1 - rate))
    for axes in [(0, 1, 2, 3), (0, 1, 2), (0, 2, 3), (0, 1, 3), (1, 2, 3)]:
        means = np.atleast_1d(dropped.mean(axis=axes))
        z = (means - rate) / (deviation / np.sqrt(dropped.size / means.size))
        assert np.all(np.abs(z) < 4.5)
        assert means.size < 40 or 0.6 < np.std(z) < 1.4


def test_masks_of_neighbours_keys_and_shifts_are_uncorrelated():
    flat = masks(8, 0.5).reshape(8, -1) - 0.5
    numbers = flat.shape[1]
    limit = 5 / np.sqrt(numbers)
    for shift in (1, 2, 4, 40, 50, 64, 2000, 2048, 4096):
        for a in range(8):
            for b in range(8):
                assert abs(4 * np.mean(flat[a, shift:] * flat[b, :-shift])) < limit * 1.1
    correlation = 4 * flat @ flat.T / numbers
    assert np.all(np.abs(correlation - np.eye(8)) < limit)


def test_the_gradient_passes_exactly_what_was_kept_scaled():
    dropout = Dropout(0.25)
    run = lambda x: dropout.apply({}, x, deterministic=False, rngs={'dropout': jax.random.key(3)})
    x = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)
    out, pullback = jax.vjp(run, x)
    (gradient,) = pullback(jnp.ones_like(x))
    np.testing.assert_allclose(out, x * gradient, rtol=1e-6)
    np.testing.assert_allclose(np.unique(gradient), [0, 4 / 3], rtol=1e-6)
    assert np.mean(np.asarray(gradient)) == pytest.approx(1, abs=0.02)


def test_bits_do_not_depend_on_vmap_or_jit():
    keys = jax.random.split(jax.random.key(1), 5)
    alone = np.stack([keep_mask(key, SHAPE, 0.3) for key in keys])
    np.testing.assert_array_equal(jax.vmap(lambda key: keep_mask(key, SHAPE, 0.3))(keys), alone)
    np.testing.assert_array_equal(jax.jit(keep_mask, static_argnums=(1, 2))(keys[2], SHAPE, 0.3), alone[2])


def test_rows_of_a_larger_array_have_the_bits_that_they_have_there():
    key = jax.random.key(5)
    whole = keep_mask(key, SHAPE, 0.3)
    np.testing.assert_array_equal(keep_mask(key, (20, *SHAPE[1:]), 0.3, first_row=17), whole[17:37])
    assert not np.array_equal(keep_mask(key, SHAPE, 0.3, first_row=1), whole)
    some = Dropout(0.3).apply({}, jnp.ones((20, 7)), False, 17, rngs={'dropout': key})
    every = Dropout(0.3).apply({}, jnp.ones((64, 7)), False, rngs={'dropout': key})
    np.testing.assert_array_equal(some, every[17:37])


def test_nothing_is_dropped_deterministically_or_at_rate_zero():
    x = jnp.ones((3, 4), jnp.bfloat16)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, deterministic=True), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, deterministic=False), x)
    half = Dropout(0.5).apply({}, x, deterministic=False, rngs={'dropout': jax.random.key(0)})
    assert half.dtype == jnp.bfloat16
