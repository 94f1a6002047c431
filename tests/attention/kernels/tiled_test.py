"""Causal attention computes few masked pairs, in rows and in tiles, and is exact at their borders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax.attention.kernels import tiled


def computed_over_needed(length):
    """How many pairs of positions are computed for each that a causal mask keeps."""
    if length <= tiled.LONGEST_IN_ROWS:
        rows = tiled.num_rows(length)
        ends = [length * number // rows for number in range(rows + 1)]
        computed = sum((ends[i + 1] - ends[i]) * ends[i + 1] for i in range(rows))
    else:
        tiles = tiled.num_tiles(length)
        computed = tiles * (tiles + 1) // 2 * (-(-length // tiles)) ** 2
    return computed / (length * (length + 1) / 2)


def test_less_than_a_sixth_of_the_work_is_wasted_from_512_positions_on():
    wasted = {length: 1 - 1 / computed_over_needed(length) for length in range(512, 20_000)}
    assert max(wasted.values()) < 0.15, max(wasted, key=wasted.get)


def test_parts_are_no_smaller_than_needed():
    assert [tiled.num_rows(length) for length in (1, 63, 64, 119, 120, 200, 320, 1536)] == [
        1, 1, 2, 2, 3, 5, 8, 8,
    ]  # fmt: skip
    assert [tiled.num_tiles(length) for length in (1537, 3072, 3073, 16384)] == [6, 6, 7, 32]


@pytest.mark.parametrize('length', [63, 64, 121, 323, pytest.param(1537, marks=pytest.mark.slow)])
def test_values_and_gradients_are_those_of_all_pairs_at_once(length):
    rng = np.random.default_rng(length)
    q, k, v, cotangent = rng.normal(size=(4, 1, 2, length, 8)).astype(np.float32)

    def dense(q, k, v):
        scores = jnp.einsum('bhqd,bhkd->bhqk', q, k) * 8**-0.5
        weights = jax.nn.softmax(jnp.where(jnp.tri(length, dtype=bool), scores, -jnp.inf))
        return weights @ v

    def both(attend):
        out, pullback = jax.vjp(attend, q, k, v)
        return out, *pullback(cotangent)

    for ours, expected in zip(
        *(jax.jit(lambda f=f: both(f))() for f in (tiled.causal_attention, dense)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
