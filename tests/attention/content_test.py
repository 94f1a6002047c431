"""Mechanisms that choose keys by content, against float64 oracles of which pairs they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax.attention import block_routing, lsh
from tests.attention.contract import (
    HEAD_DIM,
    HEADS,
    check_continues,
    check_finite,
    check_grows_by_padding,
    check_no_later_input_is_reached,
    check_values_and_gradients,
    random_inputs,
)

BATCH, SEED = 2, 3
CASES = {
    'routing_4_1': block_routing(4, 1),
    'routing_4_2': block_routing(4, 2),
    'routing_8_3': block_routing(8, 3),
    'routing_1_2': block_routing(1, 2),
    'routing_64_2': block_routing(64, 2),
    'lsh_1_4_4': lsh(1, 4, 4, SEED),
    'lsh_2_4_4': lsh(2, 4, 4, SEED),
    'lsh_3_2_6': lsh(3, 2, 6, SEED),
    'lsh_2_1_2': lsh(2, 1, 2, SEED),
    'lsh_2_64_2': lsh(2, 64, 2, SEED),
}
some = pytest.mark.parametrize('case', ['routing_4_2', 'routing_1_2', 'lsh_2_4_4', 'lsh_3_2_6'])
one_of_each = pytest.mark.parametrize('case', ['routing_4_2', 'lsh_2_4_4'])


def kept_pairs(case, inputs):
    """Which pairs a mechanism keeps, bool `[batch, heads, query, key]`, pair by pair in float64."""
    kind, *sizes = case.split('_')
    sizes = [int(size) for size in sizes]
    keeps = _routed if kind == 'routing' else _hashed
    inputs = [np.asarray(x, np.float64).swapaxes(1, 2) for x in inputs]
    return np.array([
        [keeps(*(x[row, head] for x in inputs[:2]), head, *sizes) for head in range(HEADS)]
        for row in range(BATCH)
    ])  # fmt: skip


def _routed(q, k, head, size, blocks_kept):
    length = len(q)
    keeps = np.zeros((length, length), bool)
    for t in range(length):
        own = t // size
        scores = [q[t] @ k[b * size : (b + 1) * size].mean(axis=0) for b in range(own)]
        best = sorted(range(own), key=lambda b: -scores[b])[:blocks_kept]
        for s in range(t + 1):
            keeps[t, s] = s // size == own or s // size in best
    return keeps


def _hashed(x, v, head, num_hashes, bucket_size, num_buckets):
    length = len(x)
    shape = (HEADS, num_hashes, HEAD_DIM, num_buckets // 2)
    matrices = np.asarray(jax.random.normal(jax.random.key(SEED), shape), np.float64)[head]
    keeps = np.zeros((length, length), bool)
    for matrix in matrices:
        bucket = np.concatenate([x @ matrix, -x @ matrix], axis=-1).argmax(axis=-1)
        for t in range(length):
            alike = [s for s in range(t) if bucket[s] == bucket[t]]
            keeps[t, alike[-bucket_size:]] = True
    np.fill_diagonal(keeps, ~keeps.any(axis=1))
    return keeps


def oracle(case, keeps):
    """Softmax attention to the pairs, in the inputs' own precision."""

    def attend(*inputs):
        if case.startswith('lsh'):
            q, v = inputs
            k = q / jnp.sqrt((q**2).sum(axis=-1, keepdims=True) + 1e-6)
        else:
            q, k, v = inputs
        weights = jnp.exp(jnp.einsum('bthd,bshd->bhts', q, k) / np.sqrt(HEAD_DIM)) * keeps
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return jnp.einsum('bhts,bshd->bthd', weights, v)

    return attend


def check_against_oracle(case, length, dtype=jnp.float32, **tolerances):
    mechanism = CASES[case]
    inputs = [jnp.asarray(x, dtype) for x in random_inputs(mechanism, length)]
    cotangent = jnp.asarray(random_inputs(mechanism, length, seed=1)[0], dtype)
    keeps = kept_pairs(case, inputs)
    check_values_and_gradients(mechanism.attend, oracle(case, keeps), inputs, cotangent, **tolerances)


@pytest.mark.parametrize(
    ('case', 'length'),
    [(case, 37) for case in CASES]
    + [(case, length) for case in ('routing_4_2', 'lsh_2_4_4') for length in (1, 7)],
)
def test_attend_equals_the_float64_oracle_values_and_gradients(case, length):
    check_against_oracle(case, length)


@one_of_each
def test_bfloat16_inputs_give_bfloat16_values_and_gradients_near_the_oracles(case):
    check_against_oracle(case, 37, jnp.bfloat16, rtol=1e-2, rtol_of_largest=1e-2)


@one_of_each
def test_the_choice_leaves_out_pairs_that_other_inputs_keep(case):
    """Otherwise the oracle's comparisons would say nothing about the choice."""
    one, other = (kept_pairs(case, random_inputs(CASES[case], 37, seed=seed)) for seed in (0, 1))
    assert one.sum() < np.tri(37).sum() * BATCH * HEADS * 0.6
    assert (one != other).sum() > 100


@one_of_each
def test_gradient_of_an_output_reaches_no_later_input(case):
    # Of shared queries and keys one that sees itself alone has a gradient of zero.
    mechanism, inputs = CASES[case], random_inputs(CASES[case], 23)
    t = next(t for t in range(11, 23) if (kept_pairs(case, inputs)[:, :, t].sum(axis=-1) > 1).all())
    if case.startswith('routing'):
        check_no_later_input_is_reached(mechanism, inputs, t)
    else:
        output_at_t = lambda *inputs: mechanism.attend(*inputs)[:, t].sum()
        of_shared, of_value = jax.jit(jax.grad(output_at_t, argnums=(0, 1)))(*inputs)
        assert np.any(of_shared[:, t] != 0)
        assert np.any(of_value[:, :t] != 0)
        assert np.all(of_shared[:, t + 1 :] == 0)
        assert np.all(of_value[:, t + 1 :] == 0)


@some
def test_later_inputs_change_no_earlier_choice(case):
    """The choice has no gradient, so the gradient cannot show this."""
    mechanism = CASES[case]
    inputs, others = random_inputs(mechanism, 37), random_inputs(mechanism, 37, seed=1)
    attend = jax.jit(mechanism.attend)
    for t in 5, 12, 30:
        mixed = [np.concatenate([x[:, :t], y[:, t:]], axis=1) for x, y in zip(inputs, others, strict=True)]
        expected = np.asarray(attend(*inputs))[:, :t]
        np.testing.assert_allclose(np.asarray(attend(*mixed))[:, :t], expected, rtol=1e-5, atol=1e-6)


@some
def test_prefill_and_step_continue_a_cache_as_attend_would(case):
    mechanism = CASES[case].at_length(13)
    check_continues(mechanism, random_inputs(mechanism, 13))


@some
def test_a_cache_that_is_not_full_grows_by_padding_it_with_zeros(case):
    check_grows_by_padding(CASES[case], random_inputs(CASES[case], 30))


@one_of_each
def test_values_and_gradients_stay_finite_for_extreme_inputs(case):
    check_finite(CASES[case], 150, scale=60.0)


def test_equal_inputs_fall_into_one_bucket_and_of_equal_blocks_the_earliest_wins():
    """All tokens alike, so that every choice is a tie."""
    for mechanism, seen in ((lsh(2, 4, 4), [2, 3, 4, 5]), (block_routing(2, 1), [0, 1, 6])):
        x = [np.ones((1, 8, HEADS, HEAD_DIM), np.float32) for _ in random_inputs(mechanism, 1)]
        x[-1] *= np.arange(8, dtype=np.float32)[None, :, None, None]
        np.testing.assert_allclose(mechanism.attend(*x)[0, 6], np.mean(seen), rtol=1e-6)


def test_the_hash_is_named_by_its_seed():
    q, v = random_inputs(lsh(), 37)
    of_seed = lambda seed: np.asarray(lsh(1, 4, 8, seed).attend(q, v))
    np.testing.assert_array_equal(of_seed(1), of_seed(1))
    assert not np.allclose(of_seed(1), of_seed(2))


def test_sizes_follow_the_length_unless_they_are_given():
    assert block_routing().at_length(300).init_cache(1, 300, 1, 8, jnp.float32).key.shape[2:4] == (19, 16)
    assert block_routing(10).at_length(300).init_cache(1, 300, 1, 8, jnp.float32).key.shape[2:4] == (30, 10)
    # 2 rounds of 18 buckets of 16 are more than all 300 positions, one round is not.
    assert lsh().memory(300).positions == 300
    assert lsh(1).memory(300).positions == 288
    resolved = lsh(1).at_length(300)
    assert resolved.memory(1000).positions == 288
    q, v = random_inputs(resolved, 40)
    np.testing.assert_array_equal(resolved.attend(q, v), lsh(1, 16, 18).attend(q, v))


@pytest.mark.parametrize('length', [1, 12, 37])
def test_cost_counts_the_pairs_that_are_kept(length):
    per_pair = 2 * HEADS * HEAD_DIM
    routing = kept_pairs('routing_4_2', random_inputs(CASES['routing_4_2'], length))[0, 0].sum()
    scored = sum(t // 4 for t in range(length)) * HEADS * HEAD_DIM
    assert CASES['routing_4_2'].cost(length, HEADS, HEAD_DIM).macs == routing * per_pair + scored
    # Of a hash at most: as if all positions were in one bucket in both rounds.
    pairs = 2 * sum(min(t, 4) for t in range(length))
    hashed = length * 2 * HEADS * HEAD_DIM * 2  # two rounds, and two numbers of which the sign counts, too
    assert CASES['lsh_2_4_4'].cost(length, HEADS, HEAD_DIM).macs == pairs * per_pair + hashed


def test_what_is_out_of_range_is_refused():
    for bad in {'block_size': 0}, {'blocks_kept': 0}:
        with pytest.raises(ValueError, match=f'{next(iter(bad))} must be at least 1; got 0'):
            block_routing(**bad)
    for bad, message in (
        ({'num_hashes': 0}, 'num_hashes must be at least 1; got 0'),
        ({'bucket_size': 0}, 'bucket_size must be at least 1; got 0'),
        ({'num_buckets': 0}, 'num_buckets must be at least 2; got 0'),
        ({'num_buckets': 7}, 'num_buckets must be even.*got 7'),
        ({'hash_seed': -1}, 'hash_seed must be at least 0; got -1'),
    ):
        with pytest.raises(ValueError, match=message):
            lsh(**bad)
    for case in 'routing_4_2', 'lsh_2_4_4':
        *others, v = random_inputs(CASES[case], 5)
        with pytest.raises(ValueError, match=r'\(2, 4, 2, 8\)'):
            CASES[case].attend(*others, v[:, :4])
