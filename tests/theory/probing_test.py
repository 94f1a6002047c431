"""The state is all that generation depends on, reduced states have their declared size, leaks are caught."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import tasks, training
from effxf_jax.attention.linear import LinearState
from effxf_jax.data.sources import generated
from effxf_jax.decoding import greedy_decode
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.theory import probing
from effxf_jax.theory.probing import Cut, PigeonholeError, ProbeError

TASK = tasks.make('arithmetic', n=2, modulus=3)


def make(mechanism, task=TASK, layers=2, **options):
    config = ModelConfig(
        task.vocabulary.size, task.max_length, 16, 2, layers, mechanism, dropout=0.0, options=options
    )
    return Transformer(config)


@pytest.fixture(scope='module', params=['linear', pytest.param('standard', marks=pytest.mark.slow)])
def trained(request):
    """A model that has learnt a little, and the rows that it gets right, cut."""
    model = make(request.param)
    config = training.TrainConfig(steps=300, batch_size=32, learning_rate=1e-2, warmup_steps=30)
    params = training.fit(model.config, config, generated(TASK, 0, 'train'))
    examples = generated(TASK, 0, 'test').read(np.arange(200))
    return model, params, probing.cut_rows(model, params, TASK, examples)


def cut_anywhere(model, params, examples, position):
    """Rows as an untrained model writes them; each one's partner is the next."""
    tokens = np.array(greedy_decode(model, params, *examples))
    tokens[:, position] = tokens[0, position]
    caches = probing._caches(model, params, tokens, position)
    return Cut(tokens, examples.given, position, caches, np.roll(np.arange(len(tokens)), -1))


def random_params(model):
    return jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 1), jnp.int32))['params']


@pytest.mark.parametrize(
    'mechanism',
    [
        'linear',
        'sparse',
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ('standard', 'sliding_window', 'linear+standard', 'strided')
        ),
    ],
)
def test_the_whole_state_carries_a_problem(mechanism):
    options = {'strided': {'pattern': 'strided'}, 'sliding_window': {'window': 6}}.get(mechanism, {})
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    layers = 1 + mechanism.count('+')
    model = make('sparse' if mechanism == 'strided' else mechanism, task, layers, **options)
    params = random_params(model)
    examples = task.encode(task.sample(np.random.default_rng(0), 12))
    cut = cut_anywhere(model, params, examples, position=11)
    assert len({row.tobytes() for row in probing.go_on(model, params, cut)}) > 1
    assert probing.sanity(model, params, cut) == 1


def test_a_part_of_the_state_is_not_all_of_it(trained, monkeypatch):
    model, params, cut = trained
    assert probing.sanity(model, params, cut) == 1
    whole = probing.exchanged
    monkeypatch.setattr(probing, 'exchanged', lambda caches, partner: whole(caches, partner, layer=0))
    assert probing.sanity(model, params, cut) < 0.9


def test_only_the_part_named_is_exchanged():
    model = make('standard')
    params = random_params(model)
    examples = TASK.encode(TASK.sample(np.random.default_rng(0), 4))
    cut = cut_anywhere(model, params, examples, position=9)
    mixed = probing.exchanged(cut.caches, cut.partner, layer=1, head=0)
    assert mixed[0] is cut.caches[0]
    before, after = cut.caches[1].key, mixed[1].key
    np.testing.assert_array_equal(after[:, 0], before[cut.partner][:, 0])
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    assert mixed[1].index == cut.caches[1].index


def test_rows_that_are_cut_are_right_and_their_partners_alike_but_for_what_follows(trained):
    _, _, cut = trained
    assert TASK.grade(cut.tokens, cut.given).chain_correct.all()
    assert not cut.given[:, cut.position + 1 :].any()
    assert len(cut.paired) > 10
    row, other = cut.paired, cut.partner[cut.paired]
    np.testing.assert_array_equal(cut.tokens[row, cut.position], cut.tokens[other, cut.position])
    assert (cut.tokens[row, cut.position :] != cut.tokens[other, cut.position :]).any(axis=1).all()


def test_rows_go_on_as_they_were_written(trained):
    model, params, cut = trained
    written = cut.tokens[:, cut.position + 1 :]
    np.testing.assert_array_equal(probing.go_on(model, params, cut), written)


def test_every_part_is_exchanged_and_what_is_said_of_it_is_of_that_part(trained, monkeypatch):
    model, params, cut = trained
    exchanged, asked = probing.exchanged, []

    def recorded(caches, partner, *part):
        asked.append(part)
        return exchanged(caches, partner, *part)

    monkeypatch.setattr(probing, 'exchanged', recorded)
    parts = [(layer, head) for layer in (0, 1) for head in (None, 0, 1)]
    found = list(probing.follow(model, params, TASK, cut))
    assert [part[:2] for part in found] == parts
    assert asked == [(), *parts]  # the whole first, which is what to compare with
    own = probing.go_on(model, params, cut)
    whole = probing.go_on(model, params, cut, exchanged(cut.caches, cut.partner))
    differ = (own != whole).any(axis=1)
    for layer, head, followed in found:
        mixed = probing.go_on(model, params, cut, exchanged(cut.caches, cut.partner, layer, head))
        shares = [(mixed == rows).all(axis=1)[differ].mean() for rows in (own, whole)]
        assert followed['chain'][:2] == pytest.approx(shares)


def test_in_a_model_of_one_layer_rows_follow_that_layer():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    model = make('linear', task, layers=1)
    params = random_params(model)
    examples = task.encode(task.sample(np.random.default_rng(0), 12))
    cut = cut_anywhere(model, params, examples, position=11)
    layer, head, followed = next(probing.follow(model, params, task, cut))
    assert (layer, head) == (0, None)
    assert followed['chain'] == (0, 1, 0)


def test_an_answer_stands_behind_the_last_end_of_a_step():
    ids = TASK.vocabulary.ids()
    equals, one, two = ids['='], ids['1'], ids['2']
    rows = np.array([[one, equals, two, 1, 0], [two, 1, 0, 0, 0], [equals, one, equals, one, two]])
    expected = [[two, 1, 0, 0, 0], [two, 1, 0, 0, 0], [one, two, 0, 0, 0]]
    np.testing.assert_array_equal(probing._answers(TASK, rows), expected)


def test_a_quantised_state_has_so_many_values_and_is_as_near_as_they_allow(trained):
    _, _, cut = trained
    coarse, fine = probing.quantised(cut.caches, 2), probing.quantised(cut.caches, 8)
    for exact, few, many in zip(*(jax.tree.leaves(x) for x in (cut.caches, coarse, fine)), strict=True):
        if not exact.ndim:
            assert few == exact
            continue
        for head in range(2):
            values = np.asarray(few[:, head])
            assert len(np.unique(values)) <= 4
            spread = np.ptp(np.asarray(exact[:, head]))
            assert np.abs(values - exact[:, head]).max() <= spread / 3 / 2 * 1.001
            assert np.abs(many[:, head] - exact[:, head]).max() <= spread / 255 / 2 * 1.01


def test_a_truncated_matrix_has_the_rank_and_is_the_nearest_one():
    rng = np.random.default_rng(0)
    state = LinearState(
        jnp.asarray(rng.normal(size=(3, 2, 8, 8)), jnp.float32), jnp.ones((3, 2, 8), jnp.float32)
    )
    (cut,) = probing.truncated([state], [('key_value',)], 3)
    assert (np.linalg.matrix_rank(cut.key_value, tol=1e-4) == 3).all()
    singular = np.linalg.svd(state.key_value, compute_uv=False)
    error = np.linalg.norm(np.asarray(state.key_value - cut.key_value), axis=(-2, -1))
    np.testing.assert_allclose(error, np.sqrt((singular[..., 3:] ** 2).sum(axis=-1)), rtol=1e-4)
    np.testing.assert_array_equal(cut.key, state.key)
    (whole,) = probing.truncated([state], [('key_value',)], 8)
    np.testing.assert_allclose(whole.key_value, state.key_value, atol=1e-5)


def test_numbers_count_that_differ_between_rows_and_those_of_a_truncated_matrix_by_its_factors(trained):
    model, _, cut = trained
    numbers = probing._numbers(cut.caches).shape[1]
    if model.config.mechanism == 'linear':
        assert numbers == 2 * 2 * (8 * 8 + 8)
        matrices = probing.matrices(model.config)
        assert probing.truncated_numbers(cut.caches, matrices, 8) == numbers
        assert probing.truncated_numbers(cut.caches, matrices, 1) == 2 * 2 * (16 + 8)
    else:
        assert numbers == 2 * 2 * cut.position * 16


def test_components_are_so_many_numbers_of_so_many_bits(trained):
    _, _, cut = trained
    few = probing._numbers(probing.components(cut, 2, bits=3))
    assert np.linalg.matrix_rank(few - few.mean(axis=0), tol=1e-2) <= 2
    assert len(np.unique(few.round(3), axis=0)) <= 2**6
    every = probing.components(cut, len(cut.tokens), bits=24)
    for ours, exact in zip(jax.tree.leaves(every), jax.tree.leaves(cut.caches), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-3, atol=1e-3)


def test_a_codebook_of_b_bits_has_so_many_states(trained):
    _, _, cut = trained
    for bits in (0, 2):
        states = [
            np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(probing.codebook(cut, bits)) if x.ndim
        ]
        assert len(np.unique(np.concatenate(states, axis=1), axis=0)) <= 2**bits
    everything = probing.codebook(cut, math.ceil(math.log2(len(cut.tokens))))
    for ours, exact in zip(jax.tree.leaves(everything), jax.tree.leaves(cut.caches), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-4)  # a twin's may differ in rounding


def rows_with(last_tokens):
    tokens = np.array([[5, token, 0] for token in last_tokens], np.int32)
    return Cut(tokens, np.zeros(tokens.shape, bool), 1, [], np.arange(0))


@pytest.mark.parametrize(
    ('last_tokens', 'due', 'bits', 'expected'),
    [
        # One last token: 2^b of the continuations, the most frequent ones.
        ([7, 7, 7, 7, 7], [1, 1, 2, 3, 4], 0, 2 / 5),
        ([7, 7, 7, 7, 7], [1, 1, 2, 3, 4], 1, 3 / 5),
        ([7, 7, 7, 7, 7], [1, 1, 2, 3, 4], 2, 1),
        # The last token is known by itself, so each has its own.
        ([7, 7, 8, 8], [1, 2, 1, 2], 0, 2 / 4),
        ([7, 7, 8, 8], [1, 2, 3, 3], 0, 3 / 4),
        ([7, 7, 7, 7], [1, 2, 3, 4], 1.6, 3 / 4),
        ([7, 7, 7, 7], [1, 2, 3, 4], 1000, 1),
    ],
)
def test_the_ceiling_is_what_so_many_states_can_tell_apart(last_tokens, due, bits, expected):
    assert probing.ceiling(rows_with(last_tokens), np.array(due)[:, None], bits) == pytest.approx(expected)


def test_what_is_told_later_is_known_by_itself():
    cut = rows_with([7, 7])
    assert probing.ceiling(cut, np.array([[1], [2]]), 0) == 1 / 2
    tokens, given = cut.tokens.copy(), cut.given.copy()
    tokens[:, 2], given[:, 2] = [8, 9], True
    told = cut._replace(tokens=tokens, given=given)
    assert probing.ceiling(told, np.array([[1], [2]]), 0) == 1


def test_more_rows_kept_than_their_bits_allow_are_caught(trained):
    model, params, cut = trained
    point = probing.measure(model, params, TASK, cut, 'honest', 0, cut.caches, bits=1000)
    assert (point.right, point.kept, point.ceiling) == (1, 1, 1)
    message = r'bits in all 1: 1\.0000 of \d+ rows .* 1\.0 bits allow at most 0'
    with pytest.raises(PigeonholeError, match=message):
        probing.measure(model, params, TASK, cut, 'bits in all', 1, cut.caches, bits=1)


@pytest.mark.parametrize(('kind', 'name'), [('components', 'components'), ('bits in all', 'codebook')])
def test_a_leak_in_a_way_of_making_states_smaller_is_caught(trained, monkeypatch, kind, name):
    # Planted: the state passes untouched, however little of it is counted.
    model, params, cut = trained
    monkeypatch.setattr(probing, name, lambda cut, count: cut.caches)
    monkeypatch.setattr(probing, 'COMPONENT_BITS', 1)
    with pytest.raises(PigeonholeError, match=kind):
        probing.shrink(model, params, TASK, cut, kind, [1])


def test_fewer_bits_keep_fewer_rows_under_the_ceiling(trained):
    model, params, cut = trained
    most = math.ceil(math.log2(len(cut.tokens)))
    points = probing.shrink(model, params, TASK, cut, 'bits in all', range(most + 1))
    assert [point.bits for point in points] == list(range(most + 1))
    assert points[0].kept < points[-1].kept == 1
    assert all(point.kept <= min(point.ceiling, point.right) for point in points)
    few, many = probing.shrink(model, params, TASK, cut, 'bits a number', (1, 14))
    assert few.kept < many.kept
    assert many.kept > 0.95
    assert many.bits == 14 * probing._numbers(cut.caches).shape[1]
    one, many = probing.shrink(model, params, TASK, cut, 'components', (1, 64))
    assert one.kept < many.kept
    assert one.bits == 4
    if model.config.mechanism == 'linear':
        low, full = probing.shrink(model, params, TASK, cut, 'rank', (1, 8))
        assert low.bits < full.bits
        assert full.kept > 0.95


def test_a_model_that_gets_nothing_right_is_refused():
    model = make('linear')
    examples = generated(TASK, 0, 'test').read(np.arange(8))
    with pytest.raises(ProbeError, match='none of 8 problems right'):
        probing.cut_rows(model, random_params(model), TASK, examples)


def test_a_direct_answer_cannot_be_cut():
    task = tasks.make('arithmetic', n=2, answer_mode='direct')
    model = make('linear', task)
    examples = task.encode(task.sample(np.random.default_rng(0), 4))
    with pytest.raises(ProbeError, match='no chain'):
        probing.cut_rows(model, random_params(model), task, examples)


def test_a_position_where_nothing_can_be_cut_is_refused(trained):
    model, params, _ = trained
    examples = generated(TASK, 0, 'test').read(np.arange(40))
    with pytest.raises(ProbeError, match='at position 1 and exchanged'):
        probing.cut_rows(model, params, TASK, examples, position=1)
