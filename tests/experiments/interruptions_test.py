"""Programs that write survive kills at any moment, and failures of any file operation, bit for bit.

EFFXF_KILLS=100 kills so often, and EFFXF_FAULTS=1000 makes so many operations fail, rather than a few.
"""

import errno
import functools
import itertools
import json
import os
import random
import shutil
import subprocess
import time

import pytest

from tests.experiments import programs
from tests.experiments.programs import SMOKE, metrics

KILLS = int(os.environ.get('EFFXF_KILLS', '2'))
FAULTS = int(os.environ.get('EFFXF_FAULTS', '1'))
SMALL = f'{SMOKE},num_layers=1'
RESULTS = programs.ROOT / 'results'

start, run = (functools.partial(function, optimized=True) for function in (programs.start, programs.run))


def of_runs(directory):
    """Losses and results of all runs below a directory."""
    runs = {}
    for path in sorted(directory.rglob('metrics.jsonl')):
        result = json.loads((path.parent / 'result.json').read_text())
        kept = 'answer_accuracy', 'chain_accuracy', 'teacher_forced_loss', 'train_tokens'
        runs[str(path.relative_to(directory))] = metrics(path.parent), [result[name] for name in kept]
    assert runs
    return runs


def of_files(directory):
    """The bytes of all files below a directory."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob('*') if p.is_file()}


def of_prepared(directory):
    """As `of_runs`, and what is prepared is there once, without leftovers."""
    names = [path.name for path in (directory / 'data').rglob('*')]
    assert not [name for name in names if 'incomplete' in name]
    return of_runs(directory)


PROGRAMS = {
    'an export': (
        'dataset',
        lambda d: ['export', '--config=experiments/ed.py:n=8', '--count=60000', f'--out={d / "file.txt"}'],
        of_files,
    ),
    'a report': (
        'report',
        lambda d: [RESULTS / 'rate_transfer-laptop.jsonl', f'--out={d / "page"}', '--static'],
        of_files,
    ),
    'a run': ('main', lambda d: [SMALL, f'--workdir={d / "run"}'], of_runs),
    'replicates': ('main', lambda d: [f'{SMALL},num_replicates=2', f'--workdir={d / "run"}'], of_runs),
    'a prepared dataset': (
        'main',
        lambda d: [
            f'{SMALL},source=tfds,path={d / "data"},num_train_examples=2000',
            f'--workdir={d / "run"}',
        ],
        of_prepared,
    ),
    'a sweep': (
        'sweep',
        lambda d: ['--config=experiments/sweeps/figure1.py:smoke,only=lis', f'--directory={d / "sweep"}'],
        of_runs,
    ),
}
"""By name: the module, its arguments for a directory, and what it leaves there for good; the slowest last."""


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """What a program leaves in a directory if nothing happens, and the seconds it takes."""

    @functools.cache
    def done(name):
        module, arguments, product = PROGRAMS[name]
        directory = tmp_path_factory.mktemp('whole')
        begun = time.monotonic()
        code, _, err = run(*arguments(directory), module=f'experiments.{module}')
        assert code == 0, err
        return product(directory), time.monotonic() - begun

    return done


@pytest.mark.slow
@pytest.mark.parametrize('number', range(KILLS))
def test_killed_at_any_moment_the_same_command_ends_as_if_nothing_had_happened(
    number, uninterrupted, tmp_path
):
    names = list(PROGRAMS)[: -1 if len(PROGRAMS) > KILLS else None]
    name = names[number % len(names)]
    module, arguments, product = PROGRAMS[name]
    expected, seconds = uninterrupted(name)
    wait = random.Random(number).uniform(0, seconds)
    process = start(*arguments(tmp_path), module=f'experiments.{module}')
    time.sleep(wait)
    process.kill()
    process.wait()
    code, _, err = run(*arguments(tmp_path), module=f'experiments.{module}')
    assert code == 0, err
    assert product(tmp_path) == expected, f'{name}, killed after {wait:.2f} of {seconds:.2f} s'


FAULTY = """
import errno, os, runpy, sys

*arguments, directory, failing, code = sys.argv
sys.argv[:] = arguments
failing, code, count = int(failing), int(code), 0


def operate(what, path):
    global count
    if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(directory):
        count += 1
        if count == failing:
            print('failing:', what, path, file=sys.stderr)
            raise OSError(code, os.strerror(code), path)


def watch(event, values):
    if event == 'open' or event.split('.')[0] in ('os', 'shutil', 'pathlib'):
        operate(event, values[0] if values else None)


def fsync(descriptor, real=os.fsync):
    operate('os.fsync', os.readlink(f'/proc/self/fd/{descriptor}'))
    real(descriptor)


os.fsync = fsync
sys.addaudithook(watch)
try:
    runpy.run_module('experiments.main', run_name='__main__', alter_sys=True)
finally:
    with open(os.environ['COUNT'], 'w') as file:
        file.write(str(count))
"""
"""A run of which one file operation fails: the arguments end with its directory, the number and the error."""


def faulty(workdir, number, code, count):
    arguments = SMALL, f'--workdir={workdir}', str(workdir), str(number), str(code)
    process = start(*arguments, program=FAULTY, variables={'COUNT': str(count)})
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()
        return 1, '', f'Traceback: it hangs. {process.communicate()[1]}'
    return process.returncode, *process.communicate()


@pytest.mark.slow
def test_whichever_file_operation_fails_the_next_start_ends_as_if_nothing_had_happened(
    uninterrupted, tmp_path
):
    expected, _ = uninterrupted('a run')
    count = tmp_path / 'count'
    faulty(tmp_path / 'counted', 0, 0, count)
    operations = int(count.read_text())
    assert operations > 100
    codes = itertools.cycle([errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EACCES])
    chosen = random.Random(0).sample(range(1, operations + 1), min(FAULTS, operations))
    wrong = []
    for number, code in zip(chosen, codes, strict=False):
        directory = tmp_path / 'faulty'
        status, _, err = faulty(directory / 'run', number, code, count)
        what = f'{number} of {operations}, {errno.errorcode[code]}: {err}'
        if 'Traceback' in err or 'failing:' not in err:
            wrong.append(what)
        if status:
            status, _, again = run(SMALL, f'--workdir={directory / "run"}')
            what += again
        if status or of_runs(directory) != expected:
            wrong.append(what)
        shutil.rmtree(directory)
    assert not wrong, '\n\n'.join(wrong)
