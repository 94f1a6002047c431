"""launch.sh runs the right program in the right directory with the right extras; with a fake interpreter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ('main', 'sweep', 'report', 'theory', 'probe', 'construct', 'dataset', 'dependencies')
# Writes down what it is called with, a line a word, and answers nothing but questions about the machine.
FAKE_PYTHON = f"""#!/bin/sh
[ "$1" != -c ] || exec {sys.executable} "$@"
printf '%s\\n' "cwd $PWD" "path $PYTHONPATH" "$@" END >>"$CALLS"
"""


class Call(NamedTuple):
    """One call of the fake interpreter."""

    cwd: Path
    python_path: str
    words: list[str]


class Launcher:
    """launch.sh in a copy of the repository, called from an empty directory."""

    def __init__(self, root: Path):
        self.repository, self.elsewhere = root / 'repository', root / 'else where'
        self.script, self.python = self.repository / 'launch.sh', self.repository / '.venv/bin/python'
        self.elsewhere.mkdir()
        for name in 'launch.sh', 'setup.cfg', 'constraints.txt':
            (self.repository / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.repository / name)
        for name in 'experiments', 'benchmarks':
            (self.repository / name).mkdir()
            for file in (ROOT / name).glob('*.py'):
                shutil.copy(file, self.repository / name)
        self._calls = root / 'calls'

    def install_fake(self, *names: str) -> None:
        for name in ('python', *names):
            file = self.python.with_name(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(FAKE_PYTHON)
            file.chmod(0o755)

    def run(self, *args: str, script: Path | None = None, **variables: str):
        """The exit status with all that was printed, and the calls made of the fake interpreter."""
        self._calls.write_text('')
        env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'XLA_FLAGS')}
        done = subprocess.run(
            [script or self.script, *args],
            cwd=self.elsewhere, capture_output=True, text=True, timeout=60,
            env={**env, 'EFFXF_BACKEND': 'cpu', 'CALLS': str(self._calls), **variables},
        )  # fmt: skip
        calls = []
        for call in self._calls.read_text().split('END\n')[:-1]:
            cwd, path, *words = call.splitlines()
            calls.append(Call(Path(cwd.removeprefix('cwd ')), path.removeprefix('path '), words))
        return done, calls


@pytest.fixture
def bare(tmp_path):
    return Launcher(tmp_path)


@pytest.fixture
def launcher(bare):
    bare.install_fake('ruff')
    bare.run('setup')
    return bare


@pytest.mark.parametrize('program', PROGRAMS)
def test_every_program_runs_in_the_callers_directory_with_its_arguments_unchanged(launcher, program):
    args = ['--config=experiments/arith.py:n=2', '--workdir=runs/a b', '--out=../x', 'sweeps/a']
    done, (call,) = launcher.run(program, *args)
    assert done.returncode == 0, done.stderr
    assert call.words == ['-P', '-m', f'experiments.{program}', *args]
    assert call.cwd == launcher.elsewhere
    assert call.python_path == str(launcher.repository)


def test_programs_are_those_of_experiments():
    files = (ROOT / 'experiments').glob('*.py')
    assert {file.stem for file in files if "\nif __name__ == '__main__'" in file.read_text()} == set(PROGRAMS)


def test_flags_alone_run_main(launcher):
    _, (call,) = launcher.run('--config=experiments/arith.py', '--distributed')
    assert call.words[2:] == ['experiments.main', '--config=experiments/arith.py', '--distributed']


def test_a_symlink_runs_the_repository_it_points_to(launcher, tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'link').symlink_to(launcher.script)
    (tmp_path / 'bin/effxf').symlink_to('../link')
    done, (call,) = launcher.run('theory', script=tmp_path / 'bin/effxf')
    assert done.returncode == 0, done.stderr
    assert (call.cwd, call.python_path) == (launcher.elsewhere, str(launcher.repository))


def test_benchmarks_run_in_the_callers_directory_and_tests_in_the_repository(launcher):
    _, calls = launcher.run('bench', 'pipeline', '--out=x')
    install, bench = calls[-2:]
    assert install.words[-1] == '.[experiments,cpu,bench]'
    assert bench.words == ['-P', '-m', 'benchmarks.pipeline', '--out=x']
    assert bench.cwd == launcher.elsewhere
    _, calls = launcher.run('bench', '--out=x')
    assert [call.words[2:] for call in calls] == [
        [f'benchmarks.{name}', '--out=x'] for name in ('attention', 'training', 'decoding')
    ]
    _, calls = launcher.run('test', '-m', 'not slow')
    lint, form, tests = calls[-3:]
    assert (lint.words, form.words) == (['check', '.'], ['format', '--check', '.'])
    assert tests.words[:2] == ['-m', 'pytest']
    assert tests.words[-2:] == ['-m', 'not slow']
    assert {call.cwd for call in (lint, form, tests)} == {launcher.repository}


def test_packages_are_installed_once_for_each_extra_and_again_when_requirements_change(bare):
    bare.install_fake()

    def installs(*args, **variables):
        done, calls = bare.run(*args, **variables)
        assert done.returncode == 0, done.stderr
        found = [call for call in calls if 'install' in call.words]
        assert all(call.cwd == bare.repository for call in found)
        return [call.words[-1] for call in found]

    assert installs('theory') == ['.[experiments,cpu]']
    assert installs('report', 'x') == []
    assert installs('setup', EFFXF_BACKEND='cuda') == ['.[experiments,cuda]']
    assert installs('theory') == installs('theory', EFFXF_BACKEND='cuda') == []
    with (bare.repository / 'constraints.txt').open('a') as file:
        file.write('absl-py==9\n')
    assert installs('theory') == ['.[experiments,cpu]']
    assert installs('setup', EFFXF_BACKEND='cuda') == ['.[experiments,cuda]']


def test_a_failed_installation_runs_nothing_and_is_tried_again(bare):
    bare.install_fake()
    bare.python.write_text(FAKE_PYTHON + '[ "$3" != install ] || exit 1\n')
    for _ in range(2):
        done, calls = bare.run('theory')
        assert done.returncode != 0
        assert 'install' in calls[-1].words


@pytest.mark.parametrize('args', [['--help'], ['-h'], ['help']])
def test_help_lists_programs_and_main_flags_without_setting_up(bare, args):
    done, _ = bare.run(*args)
    assert (done.returncode, done.stderr) == (0, '')
    for word in (*PROGRAMS, 'bench', 'test', 'setup'):
        assert f'\n  {word} ' in done.stdout
    for flag in '--config', '--workdir', '--directory', '--reuse', '--out', '--distributed', 'EFFXF_BACKEND':
        assert flag in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert not bare.python.exists()


@pytest.mark.parametrize('program', [*PROGRAMS, 'bench', 'bench startup', 'test', 'setup'])
def test_a_programs_help_describes_it_without_setting_up(bare, program):
    done, _ = bare.run(*program.split(), '--config=x', '--help')
    assert (done.returncode, done.stderr) == (0, '')
    expected = {
        'main': '--workdir', 'sweep': '--reuse', 'report': '--export', 'theory': '--widths',
        'probe': '--position', 'dataset': 'check --path', 'bench': 'pipeline  ', 'bench startup': '--out',
        'test': 'pytest', 'setup': 'EFFXF_BACKEND', 'construct': '--construction', 'dependencies': '--task',
    }  # fmt: skip
    assert expected[program] in done.stdout
    assert '"""' not in done.stdout
    assert 'import ' not in done.stdout
    assert not bare.python.exists()


@pytest.mark.parametrize(
    'args, variables, message',
    [
        (['reprot'], {}, "unknown program 'reprot'; the programs are: main, sweep"),
        (['theory'], {'EFFXF_BACKEND': 'gpu'}, "must be cpu, cuda or tpu; got 'gpu'"),
        (['theory'], {'PYTHON': 'no-such-python'}, 'no Python >= 3.11 found (tried no-such-python)'),
        ([], {}, 'usage: ./launch.sh'),
    ],
)
def test_nonsense_gets_a_message_and_installs_nothing(bare, args, variables, message):
    done, _ = bare.run(*args, **variables)
    assert done.returncode != 0
    assert message in done.stderr
    assert not bare.python.exists()
