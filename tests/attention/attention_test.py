"""Every mechanism against a float64 oracle written from its equation, and the promises of the contract."""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import attention

HEADS, HEAD_DIM = 2, 8


@dataclasses.dataclass(frozen=True)
class Case:
    """A mechanism, and the bool matrix [query, key] or feature map that defines it."""

    name: str
    mechanism: attention.Mechanism
    keeps: Callable[[int, int], bool] | None = None
    phi: Callable | None = None


def fixed_pattern(block_size, summary_size):
    """Child et al. 2019: the own block causally, the last positions of every earlier block."""

    def keeps(query, key):
        same_block = query // block_size == key // block_size
        earlier_block = key // block_size < query // block_size
        summary = key % block_size >= block_size - summary_size
        return (same_block and key <= query) or (earlier_block and summary)

    return keeps


def elu_plus_one(x):
    return jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))


CASES = [
    Case('standard', attention.standard(), keeps=lambda query, key: key <= query),
    Case('sparse_4_1', attention.sparse(4, 1), keeps=fixed_pattern(4, 1)),
    Case('sparse_8_3', attention.sparse(8, 3), keeps=fixed_pattern(8, 3)),
    Case('sparse_1_1', attention.sparse(1, 1), keeps=lambda query, key: key <= query),
    Case('sparse_4_4', attention.sparse(4, 4), keeps=lambda query, key: key <= query),
    Case('linear_textbook', attention.linear(chunk_size=1), phi=elu_plus_one),
    Case('linear_chunked', attention.linear(chunk_size=8), phi=elu_plus_one),
    Case('linear_one_chunk', attention.linear(chunk_size=64), phi=elu_plus_one),
    Case('linear_softplus', attention.linear('softplus', 4), phi=jax.nn.softplus),
]
every_mechanism = pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
every_length = pytest.mark.parametrize('length', [1, 7, 37])


def random_qkv(length, batch=2, seed=0, scale=1.5):
    rng = np.random.default_rng(seed)
    return tuple(
        rng.normal(size=(batch, length, HEADS, HEAD_DIM), scale=scale).astype(np.float32) for _ in 'qkv'
    )


def oracle(case, q, k, v):
    """The mechanism's equation over all pairs, in the inputs' own precision."""
    length = q.shape[1]
    if case.phi is None:
        keeps = np.array([[case.keeps(t, s) for s in range(length)] for t in range(length)])
        weights = jnp.exp(jnp.einsum('bthd,bshd->bhts', q, k) / np.sqrt(HEAD_DIM)) * keeps
    else:
        causal = np.array([[s <= t for s in range(length)] for t in range(length)])
        weights = jnp.einsum('bthd,bshd->bhts', case.phi(q), case.phi(k)) * causal
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return jnp.einsum('bhts,bshd->bthd', weights, v)


def with_gradients(attend, q, k, v, cotangent):
    @jax.jit
    def run(q, k, v):
        out, pullback = jax.vjp(attend, q, k, v)
        return out, *pullback(cotangent)

    return run(q, k, v)


@every_mechanism
@every_length
def test_attend_equals_the_float64_oracle_values_and_gradients(case, length):
    qkv = random_qkv(length)
    cotangent = random_qkv(length, seed=1)[0]
    actual = with_gradients(case.mechanism.attend, *qkv, cotangent)
    with jax.enable_x64(True):
        expected = with_gradients(lambda *x: oracle(case, *x), *(np.float64(x) for x in (*qkv, cotangent)))
        assert expected[0].dtype == np.float64
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=2e-4, atol=2e-5)


@every_mechanism
def test_gradient_of_an_output_reaches_no_later_input(case):
    length, t = 23, 11

    def output_at_t(q, k, v):
        return case.mechanism.attend(q, k, v)[:, t].sum()

    for gradient in jax.jit(jax.grad(output_at_t, argnums=(0, 1, 2)))(*random_qkv(length)):
        assert np.all(gradient[:, t + 1 :] == 0)
        assert np.any(gradient[:, t] != 0)


@every_mechanism
@pytest.mark.parametrize('stretches', [[13], [5, 1, 7], [8, 5]])
def test_prefill_and_step_continue_a_cache_as_attend_would(case, stretches):
    length = sum(stretches)
    q, k, v = random_qkv(length)
    mechanism = case.mechanism.at_length(length)
    empty = mechanism.init_cache(2, length, HEADS, HEAD_DIM, jnp.float32)

    step, prefill = jax.jit(mechanism.step), jax.jit(mechanism.prefill)
    stepped, outputs = empty, []
    for t in range(length):
        stepped, out = step(stepped, q[:, t], k[:, t], v[:, t])
        outputs.append(out)
    expected = jax.jit(mechanism.attend)(q, k, v)
    np.testing.assert_allclose(np.stack(outputs, 1), expected, rtol=1e-4, atol=1e-5)

    filled, start, outputs = empty, 0, []
    for stretch in stretches:
        part = slice(start, start + stretch)
        filled, out = prefill(filled, q[:, part], k[:, part], v[:, part])
        outputs.append(out)
        start += stretch
    np.testing.assert_allclose(np.concatenate(outputs, 1), expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(filled, stepped, rtol=1e-5, atol=1e-5)


@every_mechanism
def test_a_cache_may_have_room_for_more_than_it_is_given(case):
    q, k, v = random_qkv(11)
    mechanism = case.mechanism
    cache = mechanism.init_cache(2, 40, HEADS, HEAD_DIM, jnp.float32)
    _, out = jax.jit(mechanism.prefill)(cache, q, k, v)
    np.testing.assert_allclose(out, jax.jit(mechanism.attend)(q, k, v), rtol=1e-4, atol=1e-5)


@every_mechanism
def test_bfloat16_inputs_give_bfloat16_outputs_near_the_float32_ones(case):
    qkv = random_qkv(37, scale=1.0)
    attend = jax.jit(case.mechanism.attend)
    half = attend(*(x.astype(jnp.bfloat16) for x in qkv))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(half), attend(*qkv), atol=0.05)


@every_mechanism
def test_values_and_gradients_stay_finite_for_extreme_and_long_inputs(case):
    q, k, v = random_qkv(150, batch=1, scale=60.0)
    loss = lambda *x: jnp.square(case.mechanism.attend(*x)).sum()
    chex.assert_tree_all_finite(jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v))


@every_mechanism
def test_shapes_that_do_not_agree_are_named(case):
    q, k, v = random_qkv(5)
    with pytest.raises(ValueError, match=r'\(2, 4, 2, 8\)'):
        case.mechanism.attend(q, k[:, :4], v)


def test_caches_are_as_small_as_the_mechanism_allows():
    def numbers(mechanism, length):
        cache = mechanism.init_cache(1, length, HEADS, HEAD_DIM, jnp.float32)
        return sum(x.size for x in jax.tree.leaves(cache) if x.ndim)

    per_token = 2 * HEADS * HEAD_DIM
    assert numbers(attention.standard(), 100) == 100 * per_token
    assert numbers(attention.sparse(8, 2), 100) == (8 + 12 * 2) * per_token
    assert numbers(attention.linear(), 100) == numbers(attention.linear(), 7)
    assert numbers(attention.linear(), 7) == HEADS * (HEAD_DIM**2 + HEAD_DIM)
    for mechanism in (attention.standard(), attention.sparse(8, 2), attention.linear()):
        assert numbers(mechanism, 100) == mechanism.state_size(100, HEADS, HEAD_DIM)


@pytest.mark.parametrize(
    ('length', 'block_size'), [(1, 1), (3, 1), (4, 2), (15, 2), (16, 4), (86, 8), (256, 16), (506, 16)]
)
def test_default_block_size_is_the_largest_power_of_two_within_the_square_root(length, block_size):
    assert attention.sparse().at_length(length).name.startswith(f'sparse(block_size={block_size},')
    assert block_size**2 <= length < (2 * block_size) ** 2


def test_sparse_resolved_at_a_length_keeps_its_mask_for_shorter_inputs():
    qkv = random_qkv(20)
    resolved = attention.sparse().at_length(100).attend(*qkv)
    np.testing.assert_array_equal(resolved, attention.sparse(8).attend(*qkv))
    assert not np.allclose(resolved, attention.sparse().attend(*qkv))


def largest_intermediate(mechanism, length):
    """Numbers in the largest array that `attend` forms, by its jaxpr."""
    x = jax.ShapeDtypeStruct((1, length, HEADS, HEAD_DIM), jnp.float32)
    jaxpr = jax.make_jaxpr(mechanism.attend)(x, x, x)
    return max(np.prod(v.aval.shape) for e in jaxpr.eqns for v in e.outvars)


def test_sparse_never_forms_the_quadratic_scores_and_linear_never_a_state_per_token():
    length = 1024
    assert largest_intermediate(attention.standard(), length) >= HEADS * length**2
    sparse = largest_intermediate(attention.sparse(), length)
    assert sparse <= 2 * HEADS * length * 32 * 2
    linear = largest_intermediate(attention.linear(chunk_size=32), length)
    assert linear <= HEADS * length * 32 * 2
    assert largest_intermediate(attention.linear(chunk_size=1), length) >= HEADS * length * HEAD_DIM**2


@pytest.mark.parametrize('length', [1, 12, 37])
def test_cost_counts_the_pairs_of_the_pattern(length):
    def pairs(keeps):
        return sum(keeps(q, k) for q in range(length) for k in range(length))

    per_pair = 2 * HEADS * HEAD_DIM
    assert attention.standard().cost(length, HEADS, HEAD_DIM).macs == per_pair * pairs(lambda q, k: k <= q)
    assert attention.sparse(4, 2).cost(length, HEADS, HEAD_DIM).macs == per_pair * pairs(fixed_pattern(4, 2))
    state = HEAD_DIM**2 + HEAD_DIM
    assert attention.linear(chunk_size=5).cost(length, HEADS, HEAD_DIM).macs == (
        2 * HEADS * length * state + per_pair * pairs(lambda q, k: k <= q and q // 5 == k // 5)
    )


def test_a_pattern_is_parsed_in_order_and_unknown_names_are_all_named():
    made = attention.make('linear+sparse', block_size=4, chunk_size=2)
    assert [m.name.partition('(')[0] for m in made] == ['linear', 'sparse']
    assert 'chunk_size=2' in made[0].name
    assert 'block_size=4' in made[1].name
    with pytest.raises(ValueError, match="'quadratic', 'cubic'.*linear.*sparse.*standard"):
        attention.make('linear+quadratic+cubic')
    with pytest.raises(TypeError, match='no_such_option'):
        attention.make('linear', no_such_option=1)


@pytest.mark.parametrize(
    'bad', [{'summary_size': 0}, {'block_size': 2, 'summary_size': 3}, {'block_size': 0}]
)
def test_impossible_block_sizes_are_refused(bad):
    with pytest.raises(ValueError, match='1 <= summary_size <= block_size'):
        attention.sparse(**bad)


def test_unknown_feature_map_and_chunk_size_are_refused():
    with pytest.raises(ValueError, match='elu_plus_one'):
        attention.linear('cosine')
    with pytest.raises(ValueError, match='at least 1'):
        attention.linear(chunk_size=0)
