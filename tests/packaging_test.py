"""The package has all its files and requirements, and works without the repository."""

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ('effxf_jax', 'experiments')
# Imported by packages that the library imports, which do not require them.
INDIRECT = {'importlib-resources', 'tensorboard'}


def requirements(section: str, name: str) -> set[str]:
    """The distributions that setup.cfg names; TensorFlow's two builds count as one."""
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    lines = config[section][name].split('\n')
    return {normal(re.match(r'[\w-]+', line)[0]) for line in lines if line}


def imported(package: str) -> set[str]:
    """The distributions that a package imports, anywhere in its files."""
    distributions = importlib.metadata.packages_distributions()
    found = set()
    for file in (ROOT / package).rglob('*.py'):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition('.')[0] for name in names} - sys.stdlib_module_names - set(PACKAGES)
            found.update(normal(distributions[top][0]) for top in tops)
    return found


def normal(distribution: str) -> str:
    return distribution.lower().replace('_', '-').replace('tensorflow-cpu', 'tensorflow')


def test_the_library_requires_what_it_imports():
    assert requirements('options', 'install_requires') == imported('effxf_jax') | INDIRECT


def test_the_extra_of_experiments_is_what_they_import_beside_the_library():
    library = requirements('options', 'install_requires')
    assert requirements('options.extras_require', 'experiments') == imported('experiments') - library


def test_every_required_package_has_a_version_in_constraints():
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    pinned = {normal(line.partition('==')[0]) for line in lines if '==' in line}
    assert requirements('options', 'install_requires') <= pinned
    assert requirements('options.extras_require', 'experiments') <= pinned


class Installed(NamedTuple):
    """The wheel, installed outside the repository.

    Attributes:
        site: where it is installed.
        files: in the wheel.
    """

    site: Path
    files: set[str]

    def run(self, directory: Path, *command: str) -> str:
        """What `python COMMAND` prints, run in a directory."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=directory, capture_output=True, text=True, timeout=300,
            env={**os.environ, 'PYTHONPATH': str(self.site)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp('wheel')
    for name in PACKAGES:  # a copy: building leaves files beside the sources
        shutil.copytree(ROOT / name, root / 'source' / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE':
        shutil.copy(ROOT / name, root / 'source' / name)
    pip = [sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check']
    build = ['wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', root, root / 'source']
    subprocess.run([*pip, *build], check=True)
    (wheel,) = root.glob('*.whl')
    subprocess.run([*pip, 'install', '--no-deps', '--no-index', '--target', root / 'site', wheel], check=True)
    return Installed(root / 'site', set(zipfile.ZipFile(wheel).namelist()))


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_packages(installed):
    files = [path for name in PACKAGES for path in (ROOT / name).rglob('*') if path.is_file()]
    expected = {path.relative_to(ROOT).as_posix() for path in files if path.parent.name != '__pycache__'}
    assert 'experiments/reporting/page.html' in expected
    assert expected == {
        file for file in installed.files if file.startswith(PACKAGES) and '-info/' not in file
    }


@pytest.mark.slow
def test_an_installed_wheel_runs_from_an_empty_directory(installed, tmp_path):
    for name in PACKAGES:
        where = installed.run(tmp_path, '-c', f'import {name}; print({name}.__file__)')
        assert where.strip() == str(installed.site / name / '__init__.py')
    words = ['show', '-config', 'experiments/arithmetic.py:n=2', '--count=1']
    out = installed.run(tmp_path, '-m', 'experiments.dataset', *words)
    assert out.startswith('Arithmetic(n=2')
    words = ['--config=experiments/sweeps/figure1.py:smoke,only=ed', '--dry_run']
    out = installed.run(tmp_path, '-m', 'experiments.sweep', *words)
    assert '3 cells' in out
    assert not list(tmp_path.iterdir())
