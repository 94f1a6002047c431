"""Every mechanism against a float64 oracle written from its equation, and the promises of the contract."""

import dataclasses
import math
import re
import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import attention
from effxf_jax.attention import fixed, strided
from effxf_jax.attention.kernels import block_sparse, softmax, tiled
from effxf_jax.attention.sliding_window import window_mask as declared_window
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


@dataclasses.dataclass(frozen=True)
class Case:
    """A mechanism, and the bool matrix [query, key] or feature map that defines it.

    The second half of the heads may have a matrix `far` of its own.
    """

    name: str
    mechanism: attention.Mechanism
    keeps: Callable[[int, int], bool] | None = None
    far: Callable[[int, int], bool] | None = None
    phi: Callable | None = None


def fixed_pattern(block_size, summary_size):
    """Child et al. 2019: the own block causally, the last positions of every earlier block."""

    def keeps(query, key):
        same_block = query // block_size == key // block_size
        earlier_block = key // block_size < query // block_size
        summary = key % block_size >= block_size - summary_size
        return (same_block and key <= query) or (earlier_block and summary)

    return keeps


def own_block(block_size):
    return lambda query, key: key <= query and query // block_size == key // block_size


def summaries(block_size, summary_size):
    """Itself, and the last positions of every block up to itself."""
    return lambda query, key: key == query or (key < query and key % block_size >= block_size - summary_size)


def column(stride):
    return lambda query, key: key <= query and (query - key) % stride == 0


def strided_pattern(stride):
    """Child et al. 2019: the last positions, and those at multiples of the stride before them."""
    return lambda query, key: key <= query and (query - key < stride or (query - key) % stride == 0)


def window_pattern(window):
    return lambda query, key: 0 <= query - key < window


def elu_plus_one(x):
    return jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))


CASES = [
    Case('standard', attention.standard(), keeps=lambda query, key: key <= query),
    Case('sparse_4_1', attention.sparse(4, 1), keeps=fixed_pattern(4, 1)),
    Case('sparse_4_2', attention.sparse(4, 2), keeps=fixed_pattern(4, 2)),
    Case('sparse_8_3', attention.sparse(8, 3), keeps=fixed_pattern(8, 3)),
    Case('sparse_1_1', attention.sparse(1, 1), keeps=lambda query, key: key <= query),
    Case('sparse_4_4', attention.sparse(4, 4), keeps=lambda query, key: key <= query),
    Case('strided_1', attention.sparse(1, pattern='strided'), keeps=strided_pattern(1)),
    Case('strided_4', attention.sparse(4, pattern='strided'), keeps=strided_pattern(4)),
    Case('strided_64', attention.sparse(64, pattern='strided'), keeps=strided_pattern(64)),
    Case('separate_4_1', attention.sparse(4, 1, heads='separate'), keeps=own_block(4), far=summaries(4, 1)),
    Case('separate_8_3', attention.sparse(8, 3, heads='separate'), keeps=own_block(8), far=summaries(8, 3)),
    Case(
        'separate_strided_4',
        attention.sparse(4, pattern='strided', heads='separate'),
        keeps=window_pattern(4),
        far=column(4),
    ),
    Case('window_2', attention.sliding_window(2), keeps=window_pattern(2)),
    Case('window_5', attention.sliding_window(5), keeps=window_pattern(5)),
    Case('window_64', attention.sliding_window(64), keeps=window_pattern(64)),
    Case('linear_textbook', attention.linear(chunk_size=1), phi=elu_plus_one),
    Case('linear_chunked', attention.linear(chunk_size=8), phi=elu_plus_one),
    Case('linear_one_chunk', attention.linear(chunk_size=64), phi=elu_plus_one),
    Case('linear_softplus', attention.linear('softplus', 4), phi=jax.nn.softplus),
]
DEFAULTS = [
    attention.standard(),
    attention.sparse(),
    attention.sparse(pattern='strided'),
    attention.sliding_window(),
    attention.linear(),
]
every_mechanism = pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
ONE_OF_EACH = [
    case for case in CASES
    if case.name
    in (
        'standard',
        'sparse_4_2',
        'strided_4',
        'separate_4_1',
        'window_5',
        'linear_chunked',
        'linear_softplus',
    )
]  # fmt: skip
one_of_each = pytest.mark.parametrize('case', ONE_OF_EACH, ids=lambda case: case.name)
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
        of_heads = [case.keeps] * (HEADS - HEADS // 2) + [case.far or case.keeps] * (HEADS // 2)
        keeps = np.array(
            [[[keeps(t, s) for s in range(length)] for t in range(length)] for keeps in of_heads]
        )
        weights = jnp.exp(jnp.einsum('bthd,bshd->bhts', q, k) / np.sqrt(HEAD_DIM)) * keeps
    else:
        causal = np.array([[s <= t for s in range(length)] for t in range(length)])
        weights = jnp.einsum('bthd,bshd->bhts', case.phi(q), case.phi(k)) * causal
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return jnp.einsum('bhts,bshd->bthd', weights, v)


def check_against_oracle(case, length, dtype=jnp.float32, **tolerances):
    qkv = [jnp.asarray(x, dtype) for x in random_qkv(length)]
    cotangent = jnp.asarray(random_qkv(length, seed=1)[0], dtype)
    check_values_and_gradients(
        case.mechanism.attend, lambda *x: oracle(case, *x), qkv, cotangent, **tolerances
    )


@every_mechanism
@every_length
def test_attend_equals_the_float64_oracle_values_and_gradients(case, length):
    check_against_oracle(case, length)


@pytest.mark.parametrize('case', [case for case in CASES if case.keeps], ids=lambda case: case.name)
@pytest.mark.parametrize(('length', 'weights_kept'), [(37, 0), (64, 2**24)])
def test_attend_equals_the_oracle_where_it_takes_a_sequence_piece_by_piece(
    case, length, weights_kept, monkeypatch
):
    monkeypatch.setattr(softmax, '_MOST_WEIGHTS_KEPT', weights_kept)
    for module, name in (
        (tiled, 'LONGEST_IN_ROWS'), (block_sparse, '_LONGEST_DENSE'), (block_sparse, '_LONGEST_DENSE_TINY')
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(tiled, 'TILE', 8)
    monkeypatch.setattr(softmax, '_QUERIES_AT_A_TIME', 8)
    check_against_oracle(case, length)


@one_of_each
def test_bfloat16_inputs_give_bfloat16_values_and_gradients_near_the_oracles(case):
    check_against_oracle(case, 37, jnp.bfloat16, rtol=1e-2, rtol_of_largest=1e-2)


@one_of_each
def test_gradient_of_an_output_reaches_no_later_input(case):
    check_no_later_input_is_reached(case.mechanism, random_qkv(23), t=11)


@every_mechanism
def test_prefill_and_step_continue_a_cache_as_attend_would(case):
    check_continues(case.mechanism.at_length(13), random_qkv(13))


@one_of_each
def test_a_cache_may_have_room_for_more_than_it_is_given(case):
    q, k, v = random_qkv(11)
    mechanism = case.mechanism
    cache = mechanism.init_cache(2, 40, HEADS, HEAD_DIM, jnp.float32)
    _, out = jax.jit(mechanism.prefill)(cache, q, k, v)
    np.testing.assert_allclose(out, jax.jit(mechanism.attend)(q, k, v), rtol=1e-4, atol=1e-5)


@one_of_each
def test_values_and_gradients_stay_finite_for_extreme_inputs(case):
    check_finite(case.mechanism, 150, scale=60.0)


def test_values_and_gradients_of_tiles_stay_finite_for_extreme_inputs():
    check_finite(attention.standard(), tiled.LONGEST_IN_ROWS + 1, scale=60.0)


@pytest.mark.slow
@pytest.mark.parametrize('name', attention.variants())
def test_values_and_gradients_stay_finite_over_long_sequences(name):
    (mechanism,) = attention.make(*attention.variants()[name])
    check_finite(mechanism, 2**14, scale=5.0)


@pytest.mark.parametrize('name', attention.variants())
def test_several_devices_of_a_process_compute_values_and_gradients_side_by_side(name):
    (mechanism,) = attention.make(*attention.variants()[name])
    devices = jax.local_device_count()
    assert devices > 1
    inputs = [x[:, None] for x in random_inputs(mechanism, 1024, batch=devices)]
    gradients = jax.grad(lambda *x: jnp.square(mechanism.attend(*x)).sum(), argnums=range(len(inputs)))
    expected = [jax.jit(gradients)(*(x[device] for x in inputs)) for device in range(devices)]
    found = []
    # What waits for a thread of another device would wait for ever, as a solver of LAPACK did.
    thread = threading.Thread(
        target=lambda: found.append(jax.block_until_ready(jax.pmap(gradients)(*inputs))), daemon=True
    )
    thread.start()
    thread.join(120)
    assert found, 'the devices wait for one another'
    for actual, each in zip(found[0], zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(actual, np.stack(each), rtol=1e-4, atol=1e-4)


@every_mechanism
def test_a_cache_that_is_not_full_grows_by_padding_it_with_zeros(case):
    check_grows_by_padding(case.mechanism, random_qkv(30))


@pytest.mark.parametrize('name', attention.variants())
def test_a_loop_of_steps_does_not_copy_the_keys_of_all_positions(name):
    (mechanism,) = attention.make(*attention.variants()[name])
    length = 256
    mechanism = mechanism.at_length(length)

    @jax.jit
    def steps(cache, inputs):
        return jax.lax.scan(lambda cache, of_token: mechanism.step(cache, *of_token), cache, inputs)

    inputs = [jnp.moveaxis(x, 1, 0) for x in random_inputs(mechanism, length)]
    cache = mechanism.init_cache(2, length, HEADS, HEAD_DIM, jnp.float32)
    program = steps.lower(cache, inputs).compile({'xla_backend_optimization_level': 2}).as_text()
    body, entry = program.split('ENTRY ')
    assert ' while(' in entry
    copied = [
        math.prod(map(int, shape.split(','))) for shape in re.findall(r'= \w+\[([\d,]+)\]\S* copy\(', body)
    ]
    assert max(copied, default=0) < 2 * HEADS * length * HEAD_DIM


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
    assert numbers(attention.sparse(8, pattern='strided'), 96) == 96 * per_token
    assert numbers(attention.sliding_window(8), 100) == 8 * per_token
    assert numbers(attention.linear(), 100) == numbers(attention.linear(), 7)
    assert numbers(attention.linear(), 7) == HEADS * (HEAD_DIM**2 + HEAD_DIM)
    for mechanism in (
        attention.standard(),
        attention.sparse(8, 2),
        attention.sparse(10, pattern='strided'),
        attention.sliding_window(8),
        attention.linear(),
    ):
        # At its fullest, just before a block ends, a cache has room for no more than one block's summary.
        fullest = max(mechanism.state_size(t, HEADS, HEAD_DIM) for t in range(1, 101))
        assert 0 <= numbers(mechanism, 100) - fullest <= 3 * per_token


def seen_later(pattern, length):
    """How many of the first positions any position behind them attends to, from the pattern's pairs."""
    return sum(any(pattern(q, k) for q in range(length, 3 * length + 8)) for k in range(length))


@pytest.mark.parametrize(
    ('mechanism', 'pattern'),
    [
        (attention.standard(), lambda q, k: k <= q),
        (attention.sparse(4, 2), fixed_pattern(4, 2)),
        (attention.sparse(4, pattern='strided'), strided_pattern(4)),
        (attention.sliding_window(5), window_pattern(5)),
    ],
    ids=lambda value: getattr(value, 'name', None),
)
def test_memory_is_what_later_positions_attend_to(mechanism, pattern):
    for length in range(1, 20):
        positions = mechanism.memory(length).positions
        assert positions == seen_later(pattern, length)
        assert mechanism.state_size(length, HEADS, HEAD_DIM) == 2 * positions * HEADS * HEAD_DIM
    assert attention.linear().memory(7).positions is None
    assert 'boundary' in attention.sparse(4).memory(8).name
    assert 'block' in attention.sparse(4).memory(7).name


@pytest.mark.parametrize(
    ('length', 'block_size'), [(1, 1), (3, 1), (4, 2), (15, 2), (16, 4), (86, 8), (256, 16), (506, 16)]
)
def test_default_block_size_is_the_largest_power_of_two_within_the_square_root(length, block_size):
    assert attention.sparse().at_length(length).block_size == block_size
    assert block_size**2 <= length < (2 * block_size) ** 2


def test_sparse_resolved_at_a_length_keeps_its_mask_for_shorter_inputs():
    qkv = random_qkv(20)
    resolved = attention.sparse().at_length(100).attend(*qkv)
    np.testing.assert_array_equal(resolved, attention.sparse(8).attend(*qkv))
    assert not np.allclose(resolved, attention.sparse().attend(*qkv))


@pytest.mark.parametrize(
    ('mechanism', 'arrays_like_q'),
    [
        (attention.standard(), 20),
        (attention.sparse(), 40),
        (attention.sparse(pattern='strided'), 40),
        (attention.sliding_window(128), 20),
        (attention.linear(), 20),
    ],
    ids=lambda value: getattr(value, 'name', None),
)
def test_peak_memory_of_value_and_gradients_at_16k_is_that_of_a_few_arrays_like_q(mechanism, arrays_like_q):
    x = jax.ShapeDtypeStruct((1, 2**14, 4, 32), jnp.float32)
    compiled = (
        jax.jit(lambda q, k, v, g: jax.vjp(mechanism.attend, q, k, v)[1](g)).lower(x, x, x, x).compile()
    )
    assert compiled.memory_analysis().temp_size_in_bytes <= arrays_like_q * x.size * 4


@pytest.mark.parametrize('length', [1, 12, 37])
def test_cost_counts_the_pairs_of_the_pattern(length):
    def pairs(keeps):
        return sum(keeps(q, k) for q in range(length) for k in range(length))

    per_pair = 2 * HEADS * HEAD_DIM
    assert attention.standard().cost(length, HEADS, HEAD_DIM).macs == per_pair * pairs(lambda q, k: k <= q)
    assert attention.sparse(4, 2).cost(length, HEADS, HEAD_DIM).macs == per_pair * pairs(fixed_pattern(4, 2))
    for mechanism, keeps in (
        (attention.sparse(4, pattern='strided'), strided_pattern(4)),
        (attention.sliding_window(5), window_pattern(5)),
    ):
        assert mechanism.cost(length, HEADS, HEAD_DIM).macs == per_pair * pairs(keeps)
    half = 2 * (HEADS // 2) * HEAD_DIM
    for options, near, far in (
        ({'summary_size': 2}, own_block(4), summaries(4, 2)),
        ({'pattern': 'strided'}, window_pattern(4), column(4)),
    ):
        separate = attention.sparse(4, **options, heads='separate')
        assert separate.cost(length, HEADS, HEAD_DIM).macs == half * (pairs(near) + pairs(far))
    state = HEAD_DIM**2 + HEAD_DIM
    chunk = {1: 1, 12: 4, 37: 5}[length]  # of 12 positions three chunks alike
    assert attention.linear(chunk_size=5).cost(length, HEADS, HEAD_DIM).macs == (
        2 * HEADS * length * state + per_pair * pairs(lambda q, k: k <= q and q // chunk == k // chunk)
    )


def test_a_mixture_is_made_in_order_and_each_option_reaches_the_mechanism_that_declares_it():
    first, second = attention.make('linear+sparse', {'block_size': 4, 'chunk_size': 2})
    assert first.cost(12, 1, 8) == attention.linear(chunk_size=2).cost(12, 1, 8)
    assert second.cost(12, 1, 8) == attention.sparse(block_size=4).cost(12, 1, 8)
    assert (first.block_size, second.block_size) == (None, 4)


def test_every_unknown_name_of_a_mixture_is_named_and_a_near_one_suggested():
    with pytest.raises(ValueError) as error:
        attention.make('lineer+quadratic')
    assert "'lineer'; did you mean linear?" in str(error.value)
    known = 'block_routing, delta, gated_linear, linear, lsh, sliding_window, sparse, standard'
    assert f"'quadratic'; expected one of {known}" in str(error.value)


def test_an_option_that_no_mechanism_of_a_mixture_has_is_refused():
    message = r"block_size is not an option of mechanism 'linear' \(options: feature_map, chunk_size\)"
    with pytest.raises(ValueError, match=message):
        attention.make('linear', {'block_size': 8})


def test_caches_have_rows_on_their_first_axis_and_heads_on_their_second():
    for name, (mechanism, options) in attention.variants().items():
        (made,) = attention.make(mechanism, options)
        cache = made.at_length(20).init_cache(3, 20, 5, HEAD_DIM, jnp.float32)
        assert all(x.shape[:2] == (3, 5) for x in jax.tree.leaves(cache) if x.ndim), name
        assert all(getattr(cache, field).ndim == 4 for field in made.matrices), name


@pytest.mark.parametrize(
    'bad', [{'summary_size': 0}, {'block_size': 2, 'summary_size': 3}, {'block_size': 0}]
)
def test_impossible_block_sizes_are_refused(bad):
    with pytest.raises(ValueError, match='1 <= summary_size <= block_size'):
        attention.sparse(**bad)


def test_a_pattern_is_declared_once_and_is_what_its_equation_says():
    for pattern, keeps in (
        (fixed.fixed_mask(8, 3), fixed_pattern(8, 3)),
        (strided.strided_mask(4), strided_pattern(4)),
        (declared_window(5), window_pattern(5)),
    ):
        expected = [[keeps(query, key) for key in range(37)] for query in range(37)]
        np.testing.assert_array_equal(pattern.dense(37), expected)


def test_options_that_mean_nothing_for_a_pattern_are_refused():
    with pytest.raises(ValueError, match="fixed, strided; got 'banded'"):
        attention.sparse(pattern='banded')
    with pytest.raises(ValueError, match='no summaries; got summary_size 2'):
        attention.sparse(summary_size=2, pattern='strided')
    with pytest.raises(ValueError, match="merged, separate; got 'split'"):
        attention.sparse(heads='split')
    with pytest.raises(ValueError, match='at least 2 heads; got 1'):
        attention.sparse(heads='separate').attend(*(x[:, :, :1] for x in random_qkv(8)))
    with pytest.raises(ValueError, match='at least 1; got 0'):
        attention.sliding_window(0)


def test_separate_heads_remember_what_each_half_attends_to_later():
    for length in range(1, 20):
        halves = [seen_later(keeps, length) for keeps in (own_block(4), summaries(4, 2))]
        separate = attention.sparse(4, 2, heads='separate')
        assert separate.state_size(length, 2, HEAD_DIM) == 2 * sum(halves) * HEAD_DIM
        assert separate.memory(length) == attention.sparse(4, 2).memory(length)
    assert separate.at_length(100).block_size == 4
    assert attention.sparse(heads='separate').at_length(100).block_size == 8


def test_unknown_feature_map_and_chunk_size_are_refused():
    with pytest.raises(ValueError, match='elu_plus_one'):
        attention.linear('cosine')
    with pytest.raises(ValueError, match='at least 1'):
        attention.linear(chunk_size=0)


@pytest.mark.parametrize('feature_map', ['elu_plus_one', 'softplus'])
@pytest.mark.parametrize(('dtype', 'key'), [('bfloat16', -6.5), ('float32', -18.0), ('float32', -80.0)])
def test_features_of_negative_numbers_do_not_vanish(feature_map, dtype, key):
    """A weighted mean of ones is one, however small the weights."""
    mechanism = attention.linear(feature_map, chunk_size=4)
    for query in key, -300.0:
        q, k, v = (jnp.full((1, 6, HEADS, HEAD_DIM), x, dtype) for x in (query, key, 1.0))
        np.testing.assert_allclose(np.asarray(mechanism.attend(q, k, v), np.float32), 1, rtol=1e-2)
        cache = mechanism.init_cache(1, 6, HEADS, HEAD_DIM, jnp.dtype(dtype))
        cache, out = mechanism.prefill(cache, q[:, :5], k[:, :5], v[:, :5])
        last = mechanism.step(cache, q[:, 5], k[:, 5], v[:, 5])[1]
        np.testing.assert_allclose(np.asarray(out, np.float32), 1, rtol=1e-2)
        np.testing.assert_allclose(np.asarray(last, np.float32), 1, rtol=1e-2)


@pytest.mark.parametrize('case', [case for case in CASES if case.phi], ids=lambda case: case.name)
def test_very_negative_queries_weigh_as_their_features_do(case):
    q, k, v = random_qkv(12)
    q = q - np.float32(25)
    actual = case.mechanism.attend(q, k, v)
    exact = {'linear_softplus': lambda x: np.log1p(np.exp(x))}
    phi = exact.get(case.name, lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))))
    weights = np.einsum('bthd,bshd->bhts', *(phi(x.astype(float)) for x in (q, k))) * np.tri(12)
    expected = np.einsum('bhts,bshd->bthd', weights / weights.sum(-1, keepdims=True), v)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
