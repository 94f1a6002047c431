"""An update is the same on any number of devices, and divergence is reported."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from effxf_jax import tasks, training
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import Examples
from effxf_jax.training import TrainConfig, step
from effxf_jax.training.layout import Layout

TASK = tasks.make('arithmetic', n=3)
LAYOUT = Layout()
slow = functools.partial(pytest.param, marks=pytest.mark.slow)
CONFIG = TrainConfig(
    steps=20, batch_size=16, learning_rate=1e-2, warmup_steps=3, options={'weight_decay': 0.1}
)


MUON = dataclasses.replace(CONFIG, optimizer='muon')


@functools.cache
def make(mechanism='standard', dropout=0.0, config=CONFIG, layers=1):
    model = Transformer(
        ModelConfig(TASK.vocabulary.size, TASK.max_length, 16, 2, layers, mechanism, dropout=dropout)
    )
    optimizer = training.make_optimizer(config, model.config)
    return model, optimizer, training.init_state(model, optimizer, seed=0)


def make_batch(seed=0, count=16):
    return TASK.encode(TASK.sample(np.random.default_rng(seed), count))


def uneven(batch):
    """The same rows, with ever more of their tokens given from shard to shard of four."""
    given = batch.given.copy()
    given[4:8] |= np.arange(TASK.max_length) < 15
    given[8:12] = True
    return Examples(batch.tokens, given)


def one_update(train_step, states, batch):
    """The states after an update of one run, and its metrics on the host."""
    states, metrics = train_step(states, LAYOUT.shard([batch]), 1)
    (metrics,) = LAYOUT.to_host(metrics)
    return states, training.Metrics(*(x[0] for x in metrics))


def update_on_one_device(model, optimizer, state, batch):
    """One plain update, its gradient from the definition: the mean over all produced tokens."""

    def loss(params):
        logits = model.apply({'params': params}, batch.tokens[:, :-1])
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.tokens[:, 1:, None], axis=-1)[..., 0]
        produced = (~batch.given & (batch.tokens != 0))[:, 1:]
        return -jnp.sum(log_p * produced) / np.sum(produced)

    value, gradient = jax.value_and_grad(loss)(state.params)
    updates, _ = optimizer.update(gradient, state.opt_state, state.params)
    return value, gradient, optax.apply_updates(state.params, updates)


@pytest.mark.parametrize(
    ('mechanism', 'config'),
    [('standard', CONFIG), slow('sparse', CONFIG), slow('linear', CONFIG), slow('standard', MUON)],
)
def test_pmapped_step_gives_the_update_of_one_device_on_the_whole_batch(mechanism, config):
    assert jax.local_device_count() == 4
    model, optimizer, state = make(mechanism, config=config)
    batch = uneven(make_batch())
    produced = (~batch.given & (batch.tokens != 0)).reshape(4, -1).sum(axis=1)
    assert len(set(produced)) > 2
    assert produced[2] == 0
    value, gradient, params = jax.jit(functools.partial(update_on_one_device, model, optimizer))(state, batch)

    train_step = training.make_train_step(model, optimizer, seeds=[0])
    after, metrics = one_update(train_step, LAYOUT.to_devices([state]), batch)
    (after,) = LAYOUT.to_host(after)
    np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, optax.global_norm(gradient), rtol=1e-5)
    # Adam's first step is nearly the gradient's sign, so entries next to zero could flip: leave them out.
    for new, old, expected, g in zip(
        *map(jax.tree.leaves, (after.params, state.params, params, gradient)), strict=True
    ):
        clear = np.abs(g) > 1e-6
        np.testing.assert_allclose((new - old)[clear], (expected - old)[clear], rtol=1e-3, atol=1e-7)
    assert after.step == 1
    assert metrics.tokens == np.sum(batch.tokens != 0)


@pytest.mark.parametrize('config', [CONFIG, slow(MUON)])
def test_all_devices_hold_the_same_state_after_updates_with_dropout(config):
    model, optimizer, state = make(dropout=0.3, config=config)
    train_step = training.make_train_step(model, optimizer, seeds=[0])
    replicated = LAYOUT.to_devices([state])
    for seed in range(3):
        replicated, _ = one_update(train_step, replicated, make_batch(seed))
    for leaf in jax.tree.leaves(jax.device_get(replicated)):
        assert np.all(leaf == leaf[:1])


def test_dropout_differs_from_step_to_step_and_seed_to_seed_but_not_from_run_to_run():
    model, optimizer, state = make(dropout=0.5)
    train_steps = [training.make_train_step(model, optimizer, seeds=[seed]) for seed in (0, 1)]

    def loss_at(step, seed=0):
        train_step = train_steps[seed]
        at = LAYOUT.to_devices([state._replace(step=jnp.int32(step))])
        return one_update(train_step, at, make_batch())[1].loss

    assert loss_at(0) == loss_at(0)
    assert len({loss_at(0), loss_at(1), loss_at(0, seed=1)}) == 3


def test_parameters_start_from_their_seed():
    model, optimizer, state = make()
    again, other = (training.init_state(model, optimizer, seed) for seed in (0, 1))
    for path, drawn in jax.tree_util.tree_leaves_with_path(state.params):
        same, different = (
            functools.reduce(lambda x, key: x[key.key], path, s.params) for s in (again, other)
        )
        np.testing.assert_array_equal(drawn, same)
        if path[-1].key in ('kernel', 'embedding'):
            assert not np.any(drawn == different)


@pytest.mark.parametrize('rows_at_a_time', [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_dropout_is_that_of_the_whole_batch_however_it_is_shared_out(rows_at_a_time, monkeypatch):
    model, optimizer, state = make(dropout=0.5)
    batch = make_batch()
    assert len({row.tobytes() for row in batch.tokens}) == 16
    key = jax.random.fold_in(jax.random.key(0), 0)

    @jax.jit
    def loss_of_the_whole(params):
        losses, counts, _ = training.token_losses(model, params, batch, key)
        return losses.sum() / counts.sum()

    value, gradient = jax.value_and_grad(loss_of_the_whole)(state.params)
    row = TASK.max_length * model.config.dim
    monkeypatch.setattr(step, '_MOST_AT_A_TIME', rows_at_a_time * row)
    train_step = training.make_train_step(model, optimizer, seeds=[0])
    _, metrics = one_update(train_step, LAYOUT.to_devices([state]), batch)
    np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, optax.global_norm(gradient), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('config', [CONFIG, MUON], ids=['adamw', 'muon'])
def test_states_and_metrics_keep_their_dtypes_where_64_bits_are_enabled(config):
    _, _, usual = make(config=config)
    with jax.enable_x64(True):
        model, optimizer, _ = make(config=config)
        state = training.init_state(model, optimizer, seed=0)
        train_step = training.make_train_step(model, optimizer, seeds=[0])
        after, metrics = one_update(train_step, LAYOUT.to_devices([state]), make_batch())
        (after,) = LAYOUT.to_host(after)
    dtypes = lambda tree: [np.asarray(x).dtype for x in jax.tree.leaves(tree)]
    assert dtypes(after) == dtypes(state)
    assert dtypes(after.params) == dtypes(usual.params)
    assert dtypes(metrics) == [np.float32, np.int32, np.float32]


def test_slices_are_equal_and_as_few_as_their_size_allows():
    most = step._MOST_AT_A_TIME
    assert step._num_slices(16, most // 16) == 1
    assert step._num_slices(16, most // 16 + 1) == 2
    assert step._num_slices(12, most // 5) == 3
    assert step._num_slices(7, most // 2) == 7
    assert step._num_slices(4, 10 * most) == 4


def test_only_matrices_and_embeddings_decay():
    model, optimizer, state = make(layers=2)
    zero = jax.tree.map(jnp.zeros_like, state.params)
    opt_state = state.opt_state
    for _ in range(2):
        updates, opt_state = jax.jit(optimizer.update)(zero, opt_state, state.params)
    flat, _ = jax.tree_util.tree_flatten_with_path(updates)
    moved = {jax.tree_util.keystr(path) for path, update in flat if np.any(update != 0)}
    spared = {jax.tree_util.keystr(path) for path, update in flat if not np.any(update != 0)}
    assert all(name.endswith(("['kernel']", "['embedding']")) for name in moved)
    assert all(name.endswith(("['bias']", "['scale']")) for name in spared)
    assert len(moved) == 2 * 4 + 2


def test_an_update_is_that_of_adamw_behind_clipping_as_configured():
    options = {'weight_decay': 0.3, 'beta1': 0.8, 'beta2': 0.6}
    config = TrainConfig(10, 1, learning_rate=0.5, schedule='linear', clip_norm=2.0, options=options)
    optimizer = training.make_optimizer(config, ModelConfig(2, 2))
    w = np.array([[1.0, -2.0], [0.5, 4.0]])
    params = {'kernel': jnp.asarray(w, jnp.float32)}
    state = optimizer.init(params)
    first, second = np.zeros((2, 2, 2))
    for t, gradient in enumerate([[[3.0, -4.0], [0.0, 12.0]], [[0.3, 0.4], [-0.5, 0.1]]]):
        updates, state = optimizer.update({'kernel': jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        g = np.array(gradient) * min(1, 2.0 / np.linalg.norm(gradient))
        first, second = 0.8 * first + 0.2 * g, 0.6 * second + 0.4 * g**2
        corrected = first / (1 - 0.8 ** (t + 1)), second / (1 - 0.6 ** (t + 1))
        rate = 0.5 * (1 - t / 10)
        w = w - rate * (corrected[0] / (np.sqrt(corrected[1]) + 1e-8) + 0.3 * w)
        np.testing.assert_allclose(params['kernel'], w, rtol=1e-5)


@pytest.mark.parametrize('schedule, a_third_of_the_way', [('cosine', 1.5), ('linear', 4 / 3)])
def test_learning_rate_rises_over_the_warmup_to_its_peak_and_falls_to_zero(schedule, a_third_of_the_way):
    config = TrainConfig(100, 1, learning_rate=2.0, schedule=schedule, warmup_steps=10)
    rates = np.array([training.learning_rate_schedule(config)(t) for t in range(100)])
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11), rtol=1e-5)
    assert np.all(np.diff(rates[9:]) < 0)
    assert rates[-1] < 0.03
    assert rates[39] == pytest.approx(a_third_of_the_way, rel=1e-5)
    assert rates[54] == pytest.approx(1.0, rel=1e-5)


def test_a_schedule_without_warmup_starts_at_its_peak():
    config = TrainConfig(100, 1, learning_rate=2.0)
    assert training.learning_rate_schedule(config)(0) == 2.0


def test_loss_counts_produced_tokens_only():
    model, _, state = make()
    batch = make_batch(count=8)
    token_losses = jax.jit(training.token_losses, static_argnums=0)
    losses = token_losses(model, state.params, batch)
    produced = (~batch.given & (batch.tokens != 0))[:, 1:]
    np.testing.assert_array_equal(losses.counts, produced)
    assert np.all(np.asarray(losses.losses)[~produced] == 0)
    assert np.all(np.asarray(losses.losses)[produced] > 0)
    changed = Examples(np.where(batch.tokens == 0, 5, batch.tokens), batch.given | (batch.tokens == 0))
    np.testing.assert_allclose(token_losses(model, state.params, changed).losses, losses.losses, rtol=1e-5)


def test_padding_changes_nothing_not_even_what_is_dropped():
    model, optimizer, state = make(dropout=0.3)
    train_step = training.make_train_step(model, optimizer, seeds=[0])
    batch = make_batch(count=64)
    lengths = np.count_nonzero(batch.tokens, axis=1)
    padded = Examples(*(x[np.argsort(lengths)[:16]] for x in batch))
    longest = np.sort(lengths)[15]
    cut = Examples(*(x[:, :longest] for x in padded))
    assert longest < padded.tokens.shape[1]
    after = [one_update(train_step, LAYOUT.to_devices([state]), b)[1] for b in (padded, cut)]
    np.testing.assert_allclose(after[0].loss, after[1].loss, rtol=1e-6)
    np.testing.assert_allclose(after[0].grad_norm, after[1].grad_norm, rtol=1e-5)


@pytest.mark.parametrize(
    ('mechanism', 'optimizer_name', 'seeds'),
    [
        slow('standard', 'adamw', [3, 4, 8]),  # all on every device
        ('standard', 'adamw', [3, 4, 5, 6, 7, 8]),  # three of them on two devices
        slow('standard', 'adamw', [3, 8]),  # each on two devices
        slow('standard', 'adamw', [3, 4, 6, 8]),  # each on its own device
        slow('standard', 'muon', [3, 4, 8]),
        slow('sparse', 'adamw', [3, 4, 8]),
        slow('linear', 'adamw', [3, 4, 8]),
        slow('sliding_window', 'adamw', [3, 4, 8]),
    ],
)
def test_replicates_have_the_losses_that_their_seeds_give_alone(mechanism, optimizer_name, seeds):
    config = TrainConfig(
        steps=20, batch_size=16, learning_rate=1e-3, warmup_steps=5, optimizer=optimizer_name
    )
    model, optimizer, _ = make(mechanism, dropout=0.2, config=config)

    def losses(seeds, batches):
        layout = Layout(len(seeds))
        states = layout.to_devices([training.init_state(model, optimizer, seed) for seed in seeds])
        train_step = training.make_train_step(model, optimizer, seeds)
        calls = training.run_steps(train_step, layout, states, batches, 0, 20, in_call=8)
        return np.array([[metrics.loss for metrics in of_step] for call in calls for of_step in call.fetch()])

    batches = [[make_batch(1000 * seed + step) for step in range(20)] for seed in seeds]
    stacked = (Examples(*map(np.stack, zip(*of_step, strict=True))) for of_step in zip(*batches, strict=True))
    together = losses(seeds, stacked)
    assert together.shape == (20, len(seeds))
    for number in (0, -1):
        alone = losses([seeds[number]], iter(batches[number]))[:, 0]
        np.testing.assert_allclose(together[:, number], alone, rtol=1e-4)
    assert len(np.unique(together[0])) == len(seeds)


def test_every_value_out_of_range_is_named_at_once():
    options = {'weight_decay': -1.0, 'beta1': 1.0}
    with pytest.raises(ValueError) as error:
        TrainConfig(0, 0, -1.0, 'staircase', warmup_steps=5, clip_norm=0, options=options)
    for part in (
        'steps',
        'batch_size',
        'learning_rate',
        "'staircase'",
        'warmup',
        'decay',
        'beta1',
        'clip_norm',
    ):
        assert part in str(error.value)
