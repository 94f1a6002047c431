"""Causal attention computes few masked pairs, in rows and in tiles, and is exact at their borders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import attention
from effxf_jax.attention.kernels import tiled
from effxf_jax.attention.kernels.layout import heads_major
from tests.attention.contract import check_values_and_gradients


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


def test_less_than_15_percent_of_the_pairs_is_wasted_from_512_positions_on():
    wasted = {length: 1 - 1 / computed_over_needed(length) for length in range(512, 20_000)}
    assert max(wasted.values()) < 0.15, max(wasted, key=wasted.get)


def test_short_sequences_have_few_rows_and_long_ones_no_tiny_tiles():
    assert [tiled.num_rows(length) for length in (1, 63, 64, 119, 120, 200, 320, 1536)] == [
        1, 1, 2, 2, 3, 5, 8, 8,
    ]  # fmt: skip
    assert [tiled.num_tiles(length) for length in (1537, 3072, 3073, 16384)] == [6, 6, 7, 32]


def dense(mask, q, k, v):
    """Attention to all pairs at once under a mask, in the dtype of its inputs."""
    scores = jnp.einsum('bthd,bshd->bhts', q, k) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.einsum('bhts,bshd->bthd', weights, v)


def check(attend, mask):
    """Compares values and gradients of heads-major `attend` with those in float64."""
    rng = np.random.default_rng(len(mask))
    *qkv, cotangent = rng.normal(size=(4, 1, len(mask), 2, 8)).astype(np.float32)
    ours = lambda *x: heads_major(attend(*map(heads_major, x)))
    check_values_and_gradients(ours, functools.partial(dense, mask), qkv, cotangent)


@pytest.mark.parametrize('length', [63, 64, 121, 323, pytest.param(1537, marks=pytest.mark.slow)])
def test_values_and_gradients_are_those_of_all_pairs_at_once(length):
    check(tiled.causal_attention, np.tri(length, dtype=bool))


def test_rows_keep_the_pairs_of_any_mask():
    mask = np.tri(121, dtype=bool) & (np.random.default_rng(0).random((121, 121)) < 0.2) | np.eye(
        121, dtype=bool
    )
    check(lambda *x: tiled.attend_in_rows(*x, lambda begin, end: mask[begin:end, :end]), mask)


def test_strided_attention_to_several_rows_keeps_its_pattern():
    query, key = np.mgrid[:121, :121]
    kept = (key <= query) & ((query - key < 4) | ((query - key) % 4 == 0))
    attend = attention.sparse(4, pattern='strided').attend
    check(lambda *x: heads_major(attend(*map(heads_major, x))), kept)
