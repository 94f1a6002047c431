"""Updates are the same however they are divided into calls, and divergence is reported."""

import dataclasses
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import tasks, training
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import Examples
from effxf_jax.training import TrainConfig, step
from effxf_jax.training.layout import Layout

TASK = tasks.make('arithmetic', n=3)
MODEL = ModelConfig(TASK.vocabulary.size, TASK.max_length, 16, 2, 1, dropout=0.2)
CONFIG = TrainConfig(steps=60, batch_size=16, learning_rate=1e-2)


def make_batch(seed=0, length=None):
    tokens, given = TASK.encode(TASK.sample(np.random.default_rng(seed), 16))
    return Examples(tokens[:, :length], given[:, :length])


def start(config=CONFIG, seeds=(0,), dropout=MODEL.dropout):
    """The layout, the train step and the states of replicates that begin."""
    model = Transformer(dataclasses.replace(MODEL, dropout=dropout))
    optimizer, layout = training.make_optimizer(config, model.config), Layout(len(seeds))
    states = layout.to_devices([training.init_state(model, optimizer, seed) for seed in seeds])
    return layout, training.make_train_step(model, optimizer, seeds), states


@pytest.fixture
def as_users_compile():
    """Compiles with XLA's optimisations, without which an axis of one element changes the order of sums."""
    before = jax.config.read('jax_disable_most_optimizations')
    jax.config.update('jax_disable_most_optimizations', False)
    yield
    jax.config.update('jax_disable_most_optimizations', before)


@pytest.mark.parametrize(
    ('optimizer', 'seeds'), [('muon', [0]), pytest.param('adamw', [0, 1, 2], marks=pytest.mark.slow)]
)
def test_losses_and_states_are_bit_identical_for_every_division_into_calls(
    optimizer, seeds, as_users_compile
):
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    lengths = [None] * 5 + [20] * 2 + [None] * 6
    batches = [make_batch(number, length) for number, length in enumerate(lengths)]
    if len(seeds) > 1:
        batches = [Examples(*(np.stack([x, x[::-1], x[::-1]]) for x in batch)) for batch in batches]

    def trained(in_call, ends=()):
        layout, train_step, states = start(config, seeds)
        losses = []
        for call in training.run_steps(train_step, layout, states, iter(batches), 0, 13, in_call, ends):
            losses += call.fetch()
        return losses, layout.to_host(call.state)

    losses, states = trained(1)
    assert len(losses) == 13
    assert len({metrics.loss for of_step in losses for metrics in of_step}) == 13 * len(seeds)
    losses_in_calls, states_in_calls = trained(4, ends=(9,))
    assert losses_in_calls == losses
    jax.tree.map(np.testing.assert_array_equal, states_in_calls, states)


def test_a_call_ends_at_the_most_updates_at_another_length_at_periods_and_at_the_last_step():
    lengths = [20, 20, 20, 20, 20, 20, 20, 24, 24, 20, 20, 20, 20, 20]
    layout = types.SimpleNamespace(shard=lambda batches: [b.tokens.shape[1] for b in batches], to_host=list)
    sent = []

    def train_step(state, batches, count):
        sent.append((batches, count))
        return state, None

    batches = (make_batch(length=length) for length in lengths)
    calls = training.run_steps(train_step, layout, None, batches, start=2, stop=16, in_call=3, ends=(5, 7))
    assert [list(call.steps) for call in calls] == [
        [3], [4, 5], [6, 7], [8, 9], [10], [11], [12, 13, 14], [15], [16],
    ]  # fmt: skip
    assert sent[1] == ([20, 20, 20], 2)  # always as many batches as the program is compiled for
    assert sent[4] == ([24, 24, 24], 1)


def test_one_program_makes_any_number_of_updates(monkeypatch):
    traced = []
    losses = lambda *args: traced.append(args) or training.token_losses(*args)
    monkeypatch.setattr(step, 'token_losses', losses)
    layout, train_step, states = start()
    for call in training.run_steps(train_step, layout, states, map(make_batch, itertools.count()), 0, 8, 5):
        call.fetch()
    assert len(traced) == 1


def test_a_call_takes_as_many_updates_as_fit_into_its_time():
    tokens = CONFIG.batch_size * MODEL.max_length
    in_call = lambda num_params, config=CONFIG: training.updates_in_call(config, MODEL, num_params)
    room = 4 * 5 * 10**9 / 6 / tokens  # parameters that an update on four devices may have
    assert in_call(room * 1.1) == in_call(room * 0.9) == 1
    assert in_call(room * 0.19) == 5
    assert in_call(room * 0.19, dataclasses.replace(CONFIG, num_replicates=5)) == 1
    assert in_call(1) == 32
    # Where rows are long and the model is narrow, attention is most of the work.
    long = dataclasses.replace(MODEL, max_length=2000)
    assert training.updates_in_call(CONFIG, long, 1000) == 3


def test_training_lowers_the_loss():
    layout, train_step, states = start(dropout=0.0)
    batches = itertools.cycle([make_batch()])
    calls = training.run_steps(train_step, layout, states, batches, 0, 60, in_call=32)
    losses = [metrics.loss for call in calls for (metrics,) in call.fetch()]
    assert losses[-1] < 0.5 * losses[0]


def test_a_loss_that_is_not_finite_is_raised_with_its_step():
    layout, train_step, states = start()
    states.params['head']['bias'] = states.params['head']['bias'].at[:, :, 0].set(jnp.nan)
    (call,) = training.run_steps(train_step, layout, states, iter([make_batch()]), start=6, stop=7)
    with pytest.raises(training.DivergedError, match='loss is nan .* at step 7'):
        training.check_finite(*call.steps, *call.fetch()[0])


def test_at_most_two_calls_are_under_way_when_nobody_fetches_their_metrics():
    class Pending:
        def __init__(self, number):
            self.number = number

        def block_until_ready(self):
            done.append(self.number)

    done, dispatched = [], []

    def train_step(state, batches, count):
        dispatched.append(len(dispatched) + 1)
        assert len(dispatched) - len(done) <= 2
        return state, Pending(len(dispatched))

    layout = types.SimpleNamespace(shard=list, to_host=list)
    for _ in training.run_steps(train_step, layout, None, itertools.repeat(make_batch()), 0, 11, in_call=2):
        pass
    assert dispatched == [1, 2, 3, 4, 5, 6]
    assert done == [1, 2, 3, 4, 5]
