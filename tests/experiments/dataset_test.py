"""The programs for files of examples, end to end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ED = '--config=experiments/ed.py:n=12'

pytestmark = pytest.mark.slow


def test_an_exported_file_is_right_and_one_spoilt_token_is_found(tmp_path, program):
    path = tmp_path / 'file.txt'
    code, out, err = program('dataset', 'export', ED, '--split=test', '--count=1000', f'--out={path}')
    assert (code, err) == (0, '')
    lines = path.read_text().splitlines()
    assert len(lines) == 1000
    code, out, _ = program('dataset', 'check', ED, f'--path={path}')
    assert code == 0
    assert '1,000 of 1,000 chains are right, 0 are bad' in out

    words = lines[41].split()
    words[-1] = str(int(words[-1]) + 1)
    lines[41] = ' '.join(words)
    path.write_text('\n'.join(lines))
    code, out, _ = program('dataset', 'check', ED, f'--path={path}')
    assert code == 1
    assert f'line 42: wrong value at position {len(words) - 1}, answer: {words[-1]} where' in out
    assert '999 of 1,000 chains are right, 1 are bad' in out


def test_an_empty_file_is_bad(tmp_path, program):
    (tmp_path / 'empty').write_text('')
    code, out, _ = program('dataset', 'check', ED, f'--path={tmp_path / "empty"}')
    assert code == 1
    assert 'is empty' in out


def test_examples_are_shown_a_step_a_line(program):
    code, out, _ = program(
        'dataset', 'show', '--config=experiments/arith.py:n=2', '--count=2', '--split=test'
    )
    assert code == 0
    examples = out.strip().split('\n\n')[1:]
    assert [len(example.splitlines()) for example in examples] == [3, 3]
    assert all(example.splitlines()[0].endswith(' =') and example.endswith(' <eos>') for example in examples)


@pytest.mark.parametrize(
    ('args', 'messages'),
    [
        ([], ['expected one command of export, check, show; got none', '--config=FILE is missing']),
        (['exprot', ED], ['got exprot']),
        (['export', ED], ['--out=FILE is missing']),
        (['check', ED], ['--path=FILE is missing']),
        (['check', ED, '--path=no_such_file'], ['no_such_file cannot be read: No such file']),
        (['check', '--config=experiments/ed.py:n=0,nn=3', '--path=x'], ['n must be from 1 to', "'nn'"]),
        (['check', '--config=experiments/ed.py:n=0', '--path=x'], ['n must be from 1 to']),
        (['show', ED, '--split=validation'], ['train|test']),
        (['show', ED, '--count=0'], ['count']),
        (['export', ED, '--out=no_such_folder/file.txt'], ['no_such_folder']),
        (['show', '--config=experiments/arith.py:n=1,modulus=2,seed=-1'], ['seed must be']),
    ],
    ids=lambda value: None,
)
def test_nonsense_gets_one_message(args, messages, program):
    code, _, err = program('dataset', *args)
    assert code == 2
    for message in messages:
        assert message in err


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f'{sys.executable} -m experiments.dataset show {ED} --count=3000 | head -n 1'
    done = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.stdout.startswith('EditDistance')
    assert done.stderr == ''
