"""The program for costs and bounds, end to end."""

import json

import pytest

from effxf_jax import attention, tasks
from effxf_jax.model import ModelConfig
from effxf_jax.theory import bottleneck, complexity
from experiments import arith, configs, construct, ed, ed_local, equations, lis, theory, word_problems
from experiments.reporting.looks import look_of


@pytest.mark.slow
def test_json_is_what_the_library_says(program):
    code, out, _ = program(
        'theory', '--config=experiments/lis.py:paper', '--widths=64,128', '--precision=9', '--json'
    )
    assert code == 0
    report = json.loads(out)
    task = tasks.make('lis', n=40)
    assert report['length'] == task.max_length
    assert report['required_bits'] == task.required_bits()._asdict()
    rows = {(row['mechanism'], row['dim']): row for row in report['forward_passes']}
    assert len(rows) == 2 * len(attention.variants())
    bounds = {row['mechanism']: row for row in report['width_bounds']}
    layers, heads = report['num_layers'], report['num_heads']
    for mechanism in ('standard', 'sparse', 'linear', 'sliding_window'):
        config = ModelConfig(task.vocabulary.size, task.max_length, 128, heads, layers, mechanism)
        row = rows[mechanism, 128]
        assert row['total_macs'] == sum(row['macs'].values()) == complexity.forward_cost(config).total.macs
        assert row['state_bits'] == 9 * row['state_size'] == 9 * complexity.state_size(config)
        bound = bottleneck.least_width(task, config, 9)
        assert bounds[mechanism]['least_width'] == bound.width
        assert bounds[mechanism]['complexity_class'] == complexity.complexity_class(config)
        assert bounds[mechanism]['least_dim'] >= bound.width
    linear, standard = bounds['linear'], bounds['standard']
    assert standard['macs_relative_to_standard'] == 1
    ratio = linear['macs_at_least_dim'] / standard['macs_at_least_dim']
    assert linear['macs_relative_to_standard'] == ratio


@pytest.mark.slow
def test_extremes_are_described_too(program):
    code, out, _ = program(
        'theory', '--config=experiments/arith.py:n=100000,mechanism=sliding_window,window=1', '--widths=64'
    )
    assert code == 0
    assert 'none is enough' in out
    code, out, _ = program('theory', '--config=experiments/arith.py:answer_mode=direct', '--json')
    assert code == 0
    assert all(row['least_width'] == 0 for row in json.loads(out)['width_bounds'])


@pytest.mark.slow
def test_there_are_tables_and_a_drawing(tmp_path, program):
    path = tmp_path / 'new' / 'theory.png'
    code, out, _ = program(
        'theory', '--config=experiments/ed_local.py:mechanism=linear+standard', f'--plot={path}'
    )
    assert code == 0
    for part in (
        'Multiply-adds',
        'Bytes',
        'D at least',
        'linear+standard',
        'M(L²D + LD²)',
        'not a prediction',
    ):
        assert part in out
    assert path.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('module', [arith, ed, ed_local, equations, lis, word_problems])
def test_every_config_is_described_and_drawn(module, tmp_path):
    experiment = configs.make_experiment(module.get_config('mechanism=linear+standard'))
    report = theory.describe(experiment.task, experiment.model, [64])
    assert len(report['width_bounds']) == len(report['forward_passes']) == len(attention.variants()) + 1
    path = tmp_path / 'new' / 'theory.png'
    theory.draw(experiment.task, experiment.model, None, path)
    assert path.read_bytes().startswith(b'\x89PNG')


def test_constructed_widths_are_those_of_the_models_that_are_made():
    config = ed.get_config('n=6')
    report = theory.describe(configs.make_task(config), configs.make_experiment(config).model, [64])
    rows = {row['mechanism']: row for row in report['width_bounds']}
    for mechanism, overrides in (
        ('standard', ''),
        ('linear', ',mechanism=linear'),
        ('sparse', ',mechanism=sparse,pattern=fixed'),
        ('sparse, strided', ',mechanism=sparse,pattern=strided'),
    ):
        name, compiled, _ = construct.make(ed.get_config(f'n=6{overrides}'))
        assert (rows[mechanism]['construction'], rows[mechanism]['constructed_dim']) == (
            name,
            compiled.config.dim,
        )
        lengths = 'varied' if mechanism == 'standard' else 'equal'
        assert f'lengths={lengths!r}' in rows[mechanism]['constructed_task']
    assert rows['sliding_window']['constructed_dim'] is None
    direct = configs.make_experiment(ed.get_config('n=6,answer_mode=direct'))
    rows = theory.describe(direct.task, direct.model, [64])['width_bounds']
    assert all(row['constructed_dim'] is None for row in rows)
    large = configs.make_experiment(ed.get_config('n=50'))
    rows = theory.describe(large.task, large.model, [64])['width_bounds']
    assert all(row['constructed_dim'] is None for row in rows)


def test_a_line_of_constructed_widths_is_of_one_construction():
    experiment = configs.make_experiment(ed.get_config('n=6'))
    points = theory.constructed_widths(experiment.task, experiment.model)
    assert points[0] == (experiment.task.max_length, 148)
    # Beyond n = 31 only the narrower construction for strings of equal length is left.
    assert len(points) > 2
    assert points[-1][0] <= tasks.make('edit_distance', n=31).max_length
    assert [width for _, width in points] == sorted(width for _, width in points)


def test_costs_are_relative_to_the_standard_transformer_in_any_order(monkeypatch):
    experiment = configs.make_experiment(lis.get_config())
    describe = lambda: theory.describe(experiment.task, experiment.model, [64])['width_bounds']
    relative = lambda: {row['mechanism']: row['macs_relative_to_standard'] for row in describe()}
    expected, mechanisms = relative(), theory.mechanisms
    assert expected['standard'] == 1
    monkeypatch.setattr(theory, 'mechanisms', lambda config: reversed(list(mechanisms(config))))
    assert relative() == expected


def test_lines_are_drawn_as_in_reports(tmp_path):
    experiment = configs.make_experiment(lis.get_config('mechanism=sliding_window,window=32'))
    path = tmp_path / 'theory.svg'
    theory.draw(experiment.task, experiment.model, None, path)
    drawn = path.read_text()
    for mechanism in ('mechanism=standard', 'mechanism=sparse', 'mechanism=sliding_window,window=32'):
        assert f'stroke: {look_of(mechanism).colour}' in drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    ('args', 'parts'),
    [
        ([], ['--config=FILE is missing']),
        (['--config=experiments/arith.py:n=0,dim=63'], ['n must be at least 1', 'divisible by num_heads']),
        (
            ['--config=experiments/arith.py', '--widths=64,x,30'],
            ["invalid literal for int() with base 10: 'x'", 'got dim 30'],
        ),
        (['--config=experiments/arith.py', '--precision=0'], ['precision']),
        (['--config=experiments/arith.py', 'table'], ["unexpected argument 'table'"]),
        (['--config=experiments/arith.py', '--widths='], ['--widths is empty']),
        (['--config=experiments/arith.py', '--plot=/dev/null/x.png'], ['--plot']),
        (['--config=experiments/arith.py', '--plot=x.bmpp'], ['--plot', 'not supported']),
    ],
)
def test_what_is_wrong_is_said(args, parts, program):
    code, _, err = program('theory', *args)
    assert code != 0
    for part in parts:
        assert part in err
