"""On an accelerator, against the CPU beside it.

TEST_PLATFORMS=cuda,cpu ./launch.sh test -n 0 tests/accelerator_test.py
"""

import jax
import numpy as np
import optax
import pytest

from effxf_jax import attention, tasks, training
from effxf_jax.data.sources import generated
from effxf_jax.model import ModelConfig, Transformer

pytestmark = pytest.mark.skipif(jax.default_backend() == 'cpu', reason='TEST_PLATFORMS names no accelerator')


def relative_error(got, expected) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize('name', attention.variants())
@pytest.mark.parametrize('precision, bound', [('highest', 1e-5), ('default', 2e-2)])
def test_attention_and_its_gradients(name, precision, bound):
    (mechanism,) = attention.make(*attention.variants()[name])
    rng = np.random.default_rng(0)
    sizes = [p.size or 32 for p in mechanism.projections for _ in range(p.count)]
    arrays = [rng.normal(size=(2, 300, 4, size)).astype(np.float32) for size in (*sizes, 32)]

    def both(*arrays):
        out, pullback = jax.vjp(mechanism.attend, *arrays[:-1])
        return out, *pullback(arrays[-1])

    with jax.default_matmul_precision(precision):
        got = jax.jit(both)(*jax.device_put(arrays, jax.devices()[0]))
    expected = jax.jit(both)(*jax.device_put(arrays, jax.devices('cpu')[0]))
    for a, b in zip(got, expected, strict=True):
        assert relative_error(np.asarray(a, np.float64), np.asarray(b, np.float64)) < bound


@pytest.mark.parametrize('precision, bound', [('highest', 5e-5), ('default', 5e-3)])
def test_training(precision, bound):
    task = tasks.make('lis', n=10, number_range=40)
    source = generated(task, 0, 'train')
    config = ModelConfig(
        task.vocabulary.size, task.max_length, dim=32, dropout=0.1, mechanism='linear+sparse+standard'
    )
    model = Transformer(config)
    train = training.TrainConfig(steps=1000, batch_size=32, learning_rate=4e-3, warmup_steps=20)
    optimizer = training.make_optimizer(train, config)

    # The pmapped step would take devices of one platform only.
    @jax.jit
    def update(state, batch):
        def mean_loss(params):
            key = jax.random.fold_in(jax.random.key(0), state.step)
            losses, counts, _ = training.token_losses(model, params, batch, key)
            return losses.sum() / counts.sum()

        loss, gradient = jax.value_and_grad(mean_loss)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return training.TrainState(state.step + 1, params, opt_state), loss

    def losses(device):
        with jax.default_device(device), jax.default_matmul_precision(precision):
            state, out = jax.device_put(training.init_state(model, optimizer, 0), device), []
            for step in range(40):
                batch = jax.device_put(source.read(step * 32 + np.arange(32)), device)
                state, loss = update(state, batch)
                out.append(float(loss))
        return out

    np.testing.assert_allclose(losses(jax.devices()[0]), losses(jax.devices('cpu')[0]), atol=bound)
