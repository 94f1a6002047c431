"""Muon's updates are those of its definition, on the matrices of the layers alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from effxf_jax import attention
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.training import TrainConfig, init_state, make_optimizer

RATE = 0.01
LAYER = {  # inputs, outputs and number of the matrices in each kernel of a layer of width 8
    'qkv': (8, 8, 3),
    'attention_out': (8, 8, 1),
    'expand': (8, 32, 1),
    'contract': (32, 8, 1),
}


@functools.cache
def updates_of(dim=8, steps=3, transfer='flat', **options):
    """The parameters, random gradients and the updates of some steps at a constant rate."""
    model = ModelConfig(vocab_size=7, max_length=5, dim=dim, num_heads=2, num_layers=2)
    config = TrainConfig(
        10**9, 1, RATE, optimizer='muon', clip_norm=1e9, options=options | {'transfer': transfer}
    )
    transform = make_optimizer(config, model)
    params, state = init_state(Transformer(model), transform, seed=0)[1:]
    gradients, updates = [], []
    for step in range(steps):
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(step), len(leaves))
        gradient = tree.unflatten(jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True))
        update, state = jax.jit(transform.update)(gradient, state, params)
        gradients.append(gradient)
        updates.append(update)
    return params, gradients, updates


def orthogonalized(x):
    """Jordan's quintic iteration, after his description of the algorithm, on one matrix in float64."""
    x = np.asarray(x, np.float64)
    if x.shape[0] > x.shape[1]:
        return orthogonalized(x.T).T
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize('kernel', LAYER)
def test_a_layers_matrices_are_updated_by_their_orthogonalized_momentum(kernel):
    rows, columns, count = LAYER[kernel]
    params, gradients, updates = updates_of(weight_decay=0.25, momentum=0.9)
    for layer in ('blocks_0', 'blocks_1'):
        of = lambda tree, layer=layer: np.asarray(tree[layer][kernel]['kernel'], np.float64)
        average = np.zeros((rows, count * columns))
        for step, (gradient, update) in enumerate(zip(gradients, updates, strict=True), 1):
            average = 0.9 * average + 0.1 * of(gradient)
            # Nesterov's step ahead, with both averages corrected for their start at zero.
            ahead = 0.9 * average / (1 - 0.9 ** (step + 1)) + 0.1 * of(gradient) / (1 - 0.9**step)
            matrices = [orthogonalized(x) for x in np.split(ahead, count, axis=1)]
            expected = max(1, columns / rows) ** 0.5 * np.hstack(matrices) + 0.25 * of(params)
            np.testing.assert_allclose(of(update), -RATE * expected, rtol=1e-3, atol=1e-7)


def test_orthogonalized_matrices_have_singular_values_near_one():
    values = np.linalg.svd(orthogonalized(np.random.default_rng(0).normal(size=(16, 48))), compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_queries_keys_and_values_can_be_one_matrix():
    _, gradients, (update,) = updates_of(steps=1, weight_decay=0.0, separate=False)
    expected = 3**0.5 * orthogonalized(gradients[0]['blocks_0']['qkv']['kernel'])
    np.testing.assert_allclose(update['blocks_0']['qkv']['kernel'], -RATE * expected, rtol=1e-3, atol=1e-7)


def test_all_other_parameters_are_updated_by_adamw_without_decay():
    params, gradients, updates = updates_of(weight_decay=0.25, beta1=0.8, beta2=0.7, adam_ratio=0.5)
    reference = optax.nadam(0.5 * RATE, b1=0.8, b2=0.7)
    state = reference.init(params)
    for gradient, update in zip(gradients, updates, strict=True):
        expected, state = reference.update(gradient, state, params)
        flat = zip(*map(jax.tree.leaves_with_path, (update, expected)), strict=True)
        others = [(u, e) for (path, u), (_, e) in flat if 'kernel' not in str(path) or 'head' in str(path)]
        assert len(others) == 1 + 2 + 2 * 8 + 2 + 2  # embedding and its norm, two layers, last norm, head
        for got, want in others:
            np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_scale_rms_gives_every_matrix_an_update_of_one_size():
    _, _, (update,) = updates_of(dim=32, steps=1, weight_decay=0.0, scale='rms')
    for kernel in LAYER:
        size = np.sqrt(np.mean(update['blocks_1'][kernel]['kernel'] ** 2))
        assert 0.7 < size / (0.2 * RATE) < 1.2, kernel


@pytest.mark.parametrize(
    ('transfer', 'scaled'),
    [('head', {'head kernel'}), ('adam', {'head kernel', 'head bias', 'embedding embedding'})],
)
def test_transfer_divides_the_rates_it_names_by_the_width(transfer, scaled):
    _, _, (plain,) = updates_of(dim=16, steps=1)
    _, _, (update,) = updates_of(dim=16, steps=1, transfer=transfer)
    for parent, name in (('head', 'kernel'), ('head', 'bias'), ('embedding', 'embedding')):
        factor = 64 / 16 if f'{parent} {name}' in scaled else 1
        np.testing.assert_allclose(update[parent][name], factor * plain[parent][name], rtol=1e-6)
    for kernel in LAYER:
        np.testing.assert_array_equal(
            update['blocks_0'][kernel]['kernel'], plain['blocks_0'][kernel]['kernel']
        )


def test_a_matrix_that_does_not_decay_moves_by_its_gradient_alone(monkeypatch):
    qkv = attention.Projection('qkv', count=3, decays=False)
    spared = lambda: attention.standard()._replace(projections=(qkv,), at_length=lambda length: spared())
    monkeypatch.setitem(attention.MECHANISMS, 'spared', spared)
    model = ModelConfig(7, 5, dim=8, num_heads=2, num_layers=2, mechanism='standard+spared')
    transform = make_optimizer(TrainConfig(1, 1, RATE, optimizer='muon'), model)
    params, state = init_state(Transformer(model), transform, seed=0)[1:]
    nothing = jax.tree.map(jnp.zeros_like, params)
    update, _ = transform.update(nothing, state, params)
    moved = {
        (layer, kernel): bool(np.any(update[layer][kernel]['kernel'] != 0))
        for layer in ('blocks_0', 'blocks_1')
        for kernel in LAYER
    }
    assert [place for place, has_moved in moved.items() if not has_moved] == [('blocks_1', 'qkv')]


def test_options_out_of_range_are_named_together():
    options = {'momentum': 1.0, 'adam_ratio': 0.0, 'scale': 'big', 'transfer': 'all', 'weight_decay': -1.0}
    with pytest.raises(ValueError) as error:
        TrainConfig(1, 1, 0.1, optimizer='muon', options=options)
    for name in (*options, 'spectral, rms', 'flat, head, adam'):
        assert name in str(error.value)
