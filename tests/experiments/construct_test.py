"""The program of constructions leaves a run that the other programs read."""

import json

import pytest

from effxf_jax.runs.directory import RunDirectory
from experiments import configs, construct

SMOKE = 'experiments/ed.py:smoke,n=4,num_heads=4'


@pytest.mark.slow
def test_a_construction_is_a_run_that_main_shows_and_probe_reads(tmp_path, program):
    workdir = tmp_path / 'run'
    code, out, err = program('construct', f'--config={SMOKE},mechanism=linear', f'--workdir={workdir}')
    assert code == 0, err
    assert 'construction: linear_overwriting' in out
    assert "lengths='equal'" in out
    result = RunDirectory(workdir).read_result()
    assert result['chain_accuracy'] == 1.0
    assert (result['train_steps'], result['train_tokens'], result['num_eval_examples']) == (0, 0, 48)
    made = result['construction']
    assert made['name'] == 'linear_overwriting'
    assert made['score_margin'] > 0.3
    assert made['largest_size'] == 36
    assert 1e3 < made['largest_weight'] < 1e6
    assert '✗' not in (workdir / 'samples.txt').read_text()
    record = json.loads((workdir / 'config.json').read_text())
    model, task = record['model'], record['task']
    assert (model['positions'], task['lengths'], record['train']['steps']) == ('learned', 'equal', 0)

    again = program('construct', f'--config={SMOKE},mechanism=linear', f'--workdir={workdir}')
    assert again[0] == 0, again[2]
    assert RunDirectory(workdir).read_result() == result
    layers = f'dim={model["dim"]},num_layers={model["num_layers"]},positions=learned,dropout=0.0'
    same = f'{SMOKE},mechanism=linear,lengths=equal,start=linear_overwriting,steps=0,warmup_steps=0,{layers}'
    code, out, err = program('main', f'--config={same}', f'--workdir={workdir}')
    assert code == 0, err
    assert 'chain accuracy' in out
    code, out, err = program('probe', f'--workdir={workdir}', '--count=16')
    assert code == 0, err


@pytest.mark.parametrize(
    ('overrides', 'name'),
    [
        ('', 'standard_varied'),
        ('lengths=equal', 'standard'),
        ('mechanism=linear', 'linear_overwriting'),
        ('mechanism=sparse,pattern=fixed', 'fixed'),
        ('mechanism=sparse,pattern=strided', 'strided'),
    ],
)
def test_the_narrowest_construction_for_the_mechanism_is_made(overrides, name):
    made, compiled, experiment = construct.make(configs.load(f'{SMOKE},{overrides}'))
    assert made == name
    assert experiment.model == compiled.config


def test_what_cannot_be_constructed_is_refused_and_nothing_is_written(tmp_path, program):
    workdir = f'--workdir={tmp_path / "run"}'
    for config, message in (
        ('experiments/arith.py:smoke', "no construction of the task 'arithmetic'"),
        (f'{SMOKE},mechanism=sliding_window', 'no construction of edit_distance with sliding_window'),
        (
            'experiments/lis.py:smoke,mechanism=sparse,pattern=strided',
            'no construction of lis with sparse attention (strided); there are some with standard',
        ),
        ('experiments/ed.py:smoke,n=60', 'up to n = 45; got 60'),
    ):
        code, _, err = program('construct', f'--config={config}', workdir)
        assert code == 2
        assert message in err
    for flag, message in ('--dim=8', 'needs a width of'), ('--num_heads=3', 'with 4 heads; got num_heads 3'):
        code, _, err = program('construct', f'--config={SMOKE}', flag, workdir)
        assert code == 2
        assert message in err
    assert not (tmp_path / 'run').exists()
