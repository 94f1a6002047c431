"""A config path is the same file in every directory, and every name of a task is accepted."""

import re
import sys
from pathlib import Path

import pytest
from absl.testing import flagsaver

import experiments
from effxf_jax import tasks
from experiments import arith, command_line, config_paths, configs
from experiments.sweeping import cells
from experiments.sweeps import figure1

PACKAGE = Path(experiments.__file__).parent


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'path, file',
    [
        ('experiments/lis.py', 'lis.py'),
        ('./experiments/sweeps/figure1.py', 'sweeps/figure1.py'),
        ('experiments/arith.py', 'arith.py'),
        ('experiments/arithmetic.py', 'arith.py'),
        ('experiments/ed.py', 'ed.py'),
        ('experiments/edit_distance.py', 'ed.py'),
        ('experiments/edit_distance_local.py', 'ed_local.py'),
        ('experiments/linear_equations.py', 'equations.py'),
        (f'{PACKAGE}/arithmetic.py', 'arith.py'),
    ],
)
def test_a_config_of_the_package_is_found_from_every_directory(elsewhere, path, file):
    assert config_paths.resolve(path) == str(PACKAGE / file)
    assert config_paths.resolve(f'{path}:smoke,n=2') == f'{PACKAGE / file}:smoke,n=2'


def test_every_task_has_a_config_under_all_its_names(elsewhere):
    for name in (*tasks.TASKS, *tasks.aliases()):
        assert configs.load(f'experiments/{name}.py:smoke').task.name == tasks.find(name)


def test_the_callers_own_file_comes_first(elsewhere):
    own = elsewhere / 'experiments' / 'arith.py'
    own.parent.mkdir()
    own.write_text('')
    assert config_paths.resolve('experiments/arith.py') == 'experiments/arith.py'
    assert config_paths.resolve('experiments/arithmetic.py') == 'experiments/arith.py'
    assert config_paths.resolve('experiments/lis.py') == str(PACKAGE / 'lis.py')


@pytest.mark.parametrize(
    'path, suggestion',
    [
        ('experiments/arth.py', 'did you mean experiments/arith.py?'),
        ('experiments/edit_distnace.py', 'did you mean experiments/edit_distance.py?'),
        ('experiments/figure1.py', 'did you mean experiments/sweeps/figure1.py?'),
        ('lis.py', 'did you mean experiments/lis.py?'),
        ('../experiments/lis.py', 'did you mean experiments/lis.py?'),
        ('other/lis.py', 'did you mean experiments/lis.py?'),
        ('experiments', 'there is, for example, experiments/arith.py'),
        ('experiments/zebra.py', 'there is, for example, experiments/arith.py'),
        ('', 'there is, for example, experiments/arith.py'),
    ],
)
def test_a_path_of_no_file_is_refused_with_the_nearest_config(elsewhere, path, suggestion):
    with pytest.raises(configs.ConfigError) as error:
        configs.load(f'{path}:smoke')
    assert error.value.problems == [f'no config file {path!r}; {suggestion}']


def test_every_suggested_path_exists(elsewhere):
    assert 'experiments/sweeps/figure1.py' in config_paths.known()
    for path in config_paths.known():
        assert configs.load(path)


@pytest.mark.parametrize('flag', [['--config={}'], ['-config={}'], ['--config', '{}'], ['-config', '{}']])
def test_the_command_line_takes_such_a_path_in_every_form_of_the_flag(elsewhere, monkeypatch, flag):
    line = ['program', *(word.format('experiments/arithmetic.py:smoke') for word in flag), '--', 'rest']
    monkeypatch.setattr(sys, 'argv', line)
    with flagsaver.flagsaver():
        assert command_line.parse_flags(line, check=lambda config, values: []) == ['program', 'rest']
        assert command_line.CONFIG.value.to_dict() == arith.get_config('smoke').to_dict()


def test_a_sweep_takes_the_short_name_of_a_task_for_its_grid():
    def grids(only):
        return [grid.name for grid in cells.make_sweep(figure1.get_config(f'smoke,only={only}')).grids]

    assert grids('ed') == grids('edit_distance') == grids('ed+edit_distance') == ['edit_distance']
    assert grids('lis+arith') == ['lis', 'arithmetic']


@pytest.mark.parametrize(
    'only, hint', [('arithm', 'did you mean arithmetic?'), ('x', 'expected one of arithm')]
)
def test_an_unknown_grid_is_refused_with_the_nearest_one(only, hint):
    message = re.escape(f"only: there is no grid '{only}'; {hint}")
    with pytest.raises(configs.ConfigError, match=message):
        cells.make_sweep(figure1.get_config(f'smoke,only={only}'))
