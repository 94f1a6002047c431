"""The blocks of docs/extending.md run in order, and all parts of the project accept what they declare."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import attention, tasks, training
from effxf_jax.data.dp_chains import DpChainsConfig
from effxf_jax.model import Role, Transformer, roles
from effxf_jax.theory import complexity
from experiments import configs, theory

PAGE = Path(__file__).parents[2] / 'docs' / 'extending.md'


@pytest.fixture(scope='module')
def page():
    """The names that the page's blocks leave, run in order; its rows are taken out of the tables again."""
    tables = attention.MECHANISMS, tasks.TASKS, training.OPTIMIZERS
    before = [dict(table) for table in tables]
    namespace = {'__name__': 'extending'}
    text = PAGE.read_text()
    for block in re.finditer(r'```python\n(.*?)```', text, flags=re.DOTALL):
        lines_before = text.count('\n', 0, block.start(1))  # so that a traceback names the page's line
        exec(compile('\n' * lines_before + block[1], str(PAGE), 'exec'), namespace)
    yield namespace
    for table, rows in zip(tables, before, strict=True):
        table.clear()
        table.update(rows)


def test_the_run_is_trained_and_graded_and_named_by_its_parts(page):
    assert 0 <= page['result']['chain_accuracy'] <= 1
    assert page['result']['train_steps'] == 20
    experiment = page['experiment']
    assert experiment.name.startswith('running_sums-gated_average+standard-n6-dim16-')
    assert experiment.record['model']['least'] == 0.5
    assert experiment.record['train']['momentum'] == 0.8
    assert not {'block_size', 'beta1'} & {*experiment.record['model'], *experiment.record['train']}
    assert experiment == type(experiment).from_difference(experiment.difference)


def test_a_gated_mechanism_decodes_as_it_attends(page):
    mechanism = page['gated_average'](0.25)
    rng = np.random.default_rng(0)
    values, gate = (rng.normal(size=(2, 9, 3, size)).astype(np.float32) for size in (4, 1))
    out = mechanism.attend(values, gate)
    state, first = mechanism.prefill(
        mechanism.init_cache(2, 9, 3, 4, jnp.float32), values[:, :4], gate[:, :4]
    )
    steps = []
    for t in range(4, 9):
        state, step = mechanism.step(state, values[:, t], gate[:, t])
        steps.append(step)
    np.testing.assert_allclose(np.concatenate([first, np.stack(steps, axis=1)], axis=1), out, rtol=1e-5)
    kept = 0.25 + 0.75 / (1 + np.exp(-gate))
    average = np.zeros((2, 3, 4))
    for t in range(9):
        average = kept[:, t] * average + (1 - kept[:, t]) * values[:, t]
    np.testing.assert_allclose(out[:, -1], average, rtol=1e-5)


def test_parameters_cost_and_decay_follow_from_the_declared_projections(page):
    config = page['experiment'].model
    params = Transformer(config).init(jax.random.key(0), jnp.ones((1, 1), jnp.int32))['params']
    gated, standard = params['blocks_0'], params['blocks_1']
    assert gated['values']['kernel'].shape == (16, 16)
    assert gated['gate']['kernel'].shape == (16, 2)
    assert 'qkv' not in gated
    assert standard['qkv']['kernel'].shape == (16, 48)
    role_of = roles(config)(params)
    assert role_of['blocks_0']['values']['kernel'] == Role(decays=True, matrices=1)
    assert role_of['blocks_0']['gate']['kernel'] == Role(decays=False, matrices=1)
    assert role_of['blocks_1']['qkv']['kernel'] == Role(decays=True, matrices=3)
    assert complexity.num_params(config) == sum(x.size for x in jax.tree.leaves(params))
    projected = complexity.forward_cost(config).projections
    layers = (
        gated['values'],
        gated['gate'],
        gated['attention_out'],
        standard['qkv'],
        standard['attention_out'],
    )
    assert projected.macs == config.max_length * sum(layer['kernel'].size for layer in layers)


def test_the_theory_draws_a_mixture_with_an_added_mechanism(page, tmp_path):
    experiment = page['experiment']
    names = [name for name, _ in theory.mechanisms(experiment.model)]
    assert len(names) == len(set(names)) == 11  # with both patterns of sparse, the added one and its mixture
    theory.draw(experiment.task, experiment.model, None, tmp_path / 'theory.svg')
    drawn = (tmp_path / 'theory.svg').read_text()
    assert all(f'<!-- {name}, L^' in drawn for name in ('gated_average', 'gated_average+standard'))


def test_programs_know_what_was_added(page):
    config = page['get_config']('laptop,mechanism=gated_average,least=0.5,optimizer=sgd,momentum=0.5')
    experiment = configs.make_experiment(config)
    assert dict(experiment.train.options) == {'momentum': 0.5}
    report = theory.describe(experiment.task, experiment.model, widths=[64])
    assert [row['mechanism'] for row in report['width_bounds']][-1] == 'gated_average'
    assert len(theory.larger_tasks(experiment.task)) > 3
    assert DpChainsConfig.of(tasks.make('running_sums', n=16)).name == 'running_sums_n16'
    with pytest.raises(configs.ConfigError, match="momentum is not an option of optimizer 'adamw'"):
        configs.make_experiment(page['get_config']('laptop,optimizer=adamw,momentum=0.5'))
