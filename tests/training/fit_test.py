"""`fit` makes the same updates as its parts one by one."""

import jax
import numpy as np
import pytest

from effxf_jax import tasks, training
from effxf_jax.data.sources import generated
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.training.layout import Layout

TASK = tasks.make('lis', n=4, number_range=16)
MODEL = ModelConfig(TASK.vocabulary.size, TASK.max_length, 16, 2, 1, dropout=0.1)


def test_fit_makes_every_update_and_returns_the_parameters():
    config = training.TrainConfig(steps=3, batch_size=8, learning_rate=0.01)
    source = generated(TASK, 0, 'train')
    model, optimizer, layout = Transformer(MODEL), training.make_optimizer(config, MODEL), Layout()
    states = layout.to_devices([training.init_state(model, optimizer, seed=5)])
    step = training.make_train_step(model, optimizer, seeds=[5])
    for number in range(3):
        batch = source.read(np.arange(8) + 8 * number)
        states, _ = step(states, layout.shard([batch]), 1)
    expected = layout.to_host(states)[0].params
    fitted = training.fit(MODEL, config, source, seed=5)
    np.testing.assert_allclose(fitted['head']['kernel'], expected['head']['kernel'], rtol=1e-5)


def test_fit_without_updates_returns_the_parameters_of_the_seed():
    config = training.TrainConfig(steps=0, batch_size=8, learning_rate=0.01)
    fitted = training.fit(MODEL, config, generated(TASK, 0, 'train'), seed=5)
    expected = training.init_state(Transformer(MODEL), training.make_optimizer(config, MODEL), seed=5).params
    jax.tree.map(np.testing.assert_array_equal, fitted, expected)


def test_fit_names_the_step_at_which_training_diverges():
    config = training.TrainConfig(steps=4, batch_size=8, learning_rate=1e30, clip_norm=1e30)
    with pytest.raises(training.DivergedError, match='at step 2'):
        training.fit(MODEL, config, generated(TASK, 0, 'train'))


def test_fit_trains_one_model():
    config = training.TrainConfig(steps=1, batch_size=8, learning_rate=0.1, num_replicates=2)
    with pytest.raises(ValueError, match='requires num_replicates 1; got 2'):
        training.fit(MODEL, config, generated(TASK, 0, 'train'))
