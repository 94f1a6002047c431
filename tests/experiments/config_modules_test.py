"""A config file is executed once in a process, and finds the modules beside it."""

import os
import sys

import pytest
from ml_collections import ConfigDict

from effxf_jax import tasks
from experiments import config_modules, configs
from experiments.sweeping import cells

TASK = """
from effxf_jax import tasks
from effxf_jax.tasks import Arithmetic
from experiments import arith, configs

class OwnTask(Arithmetic):
    pass

tasks.TASKS['own_task'] = OwnTask

def get_config(arg=None):
    return configs.build(arg, 'own_task', arith.PRESETS)
"""
VARIANT = """
def get_config(arg=None):
    import own_task
    return own_task.get_config(arg)
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory with a config file that defines a task, and one that imports the other."""
    for name, text in (('own_task', TASK), ('variant', VARIANT)):
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.setattr(tasks, 'TASKS', dict(tasks.TASKS))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in (getattr(sys.modules[name], '__file__', None) or ''):
            del sys.modules[name]


def make_sweep(directory, *files):
    axes = {'mechanism': ('mechanism=standard',), 'width': ('dim=8', 'dim=16')}
    grids = {f'grid{i}': cells.grid(f'{directory}/{name}.py:smoke', axes) for i, name in enumerate(files)}
    return cells.make_sweep(ConfigDict({**cells.DEFAULTS, 'name': 'test', 'grids': grids}))


@pytest.mark.parametrize(
    'files', [('own_task', 'own_task'), ('own_task', 'variant'), ('variant', 'own_task')]
)
def test_grids_may_use_a_config_file_that_defines_a_task_and_one_that_imports_it(directory, files):
    path = list(sys.path)
    declared = make_sweep(directory, *files).declaration()
    assert {grid['task'] for grid in declared.values()} == {'own_task'}
    assert sys.path == path


def test_a_file_that_was_changed_is_executed_again(directory):
    path = directory / 'own_task.py'
    before = configs.load(f'{path}:smoke')
    path.write_text(TASK.replace('arith.PRESETS', "{'smoke': {**arith.PRESETS['smoke'], 'model.dim': 4}}"))
    os.utime(path, ns=(1, 1))
    assert (before.model.dim, configs.load(f'{path}:smoke').model.dim) == (16, 4)


def test_a_file_with_the_name_of_another_module_takes_no_ones_place(directory):
    (directory / 'json.py').write_text(TASK)
    assert configs.load(f'{directory}/json.py:smoke').task.name == 'own_task'
    assert config_modules.load(directory / 'json.py') is not sys.modules['json']
    assert hasattr(sys.modules['json'], 'dumps')


def test_a_task_of_a_class_that_was_replaced_is_refused(directory):
    task = configs.make_task(configs.load(f'{directory}/own_task.py:smoke'))
    assert tasks.name_of(task) == 'own_task'
    os.utime(directory / 'own_task.py', ns=(1, 1))
    configs.load(f'{directory}/own_task.py:smoke')
    with pytest.raises(ValueError, match='TASKS has no row for the class own_task.OwnTask'):
        tasks.name_of(task)


@pytest.mark.slow
def test_programs_find_the_modules_beside_a_config_file(directory, program):
    (directory / 'both.py').write_text(
        """
from own_task import OwnTask
from experiments.sweeping import cells

AXES = {'mechanism': ('mechanism=standard',), 'width': ('dim=8', 'dim=16')}

def get_config(arg=None):
    grids = {name: cells.grid(f'DIRECTORY/{name}.py:smoke', AXES) for name in ('own_task', 'variant')}
    return cells.build('both', arg, {'laptop': {'grids': grids}})
""".replace('DIRECTORY', str(directory))
    )
    code, out, err = program('sweep', f'--config={directory}/both.py', '--dry_run')
    assert code == 0, err
    assert '2 cells' in out  # the grids share them
