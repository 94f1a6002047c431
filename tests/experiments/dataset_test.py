"""The programs for files of examples, end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from effxf_jax.gsm8k import records

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
    for flag in (ED, '--format=gsm8k'):
        code, out, _ = program('dataset', 'check', flag, f'--path={tmp_path / "empty"}')
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


PROBLEM = records.dump('Al has 4 dogs. How many legs?', 'They have <<4*4=16>>16 legs.\n#### 16')


def test_word_problems_are_checked_without_a_config(tmp_path, program):
    path = tmp_path / 'problems.jsonl'
    path.write_text(f'{PROBLEM}\n{PROBLEM.replace("=16", "=16.0")}\n')
    code, out, err = program('dataset', 'check', '--format=gsm8k', f'--path={path}')
    assert (code, err) == (0, '')
    assert 'line' not in out.split('problems.jsonl')[0]
    rows = dict(re.findall(r'│ (.*?) +│ +(.*?) │', out))
    assert rows['problems'] == rows['annotations'] == rows['right exactly'] == '2'
    assert rows['last annotation is the answer'] == '2 (100.0%)'
    assert (rows['operands'], rows['from the question']) == ('4', '4 (100.0%)')
    assert rows['bad lines'] == rows['wrong'] == rows['problems without any'] == '0'


def test_what_is_wrong_in_word_problems_is_named_by_line_and_step(tmp_path, program):
    path = tmp_path / 'a [b].jsonl'
    wrong = records.dump(
        'Al has 4.', 'So <<4+9=13>>13.\nAnd <<13*2=27>>27,\n<<5 h=5>>, <<7=7>>8.\n<<9\n#### x'
    )
    path.write_text(f'{PROBLEM}\n{wrong}\nnonsense\n')
    code, out, err = program('dataset', 'check', '--format=gsm8k', f'--path={path}')
    assert (code, err) == (1, '')
    assert 'a [b].jsonl' in out
    for line in (
        "line 2, step 1: 9 of '4+9=13' is from nowhere",
        "line 2, step 2: '13*2=27' is wrong: it is 26; the result is 1 more",
        "line 2, step 3: '5 h=5' is unreadable: the word 'h' is no part of a formula",
        "line 2, step 3: '7=7' is followed by '8'",
        'line 2, step 4: << without >>',
        "line 2, step 5: #### must be followed by a number; got 'x'",
        'line 3: no JSON: Expecting value at column 1',
    ):
        assert f'\n{line}\n' in f'\n{out}'
    rows = dict(re.findall(r'│ (.*?) +│ +(.*?) │', out))
    assert (rows['problems'], rows['bad lines'], rows['malformed problems']) == ('2', '1', '1')
    assert (rows['wrong'], rows['unreadable'], rows['followed by another number']) == ('1', '1', '1')
    assert rows['a common conversion, such as 60'] == '1 (14.3%)'


def test_a_task_writes_word_problems_that_it_and_the_judge_find_right(tmp_path, program):
    config, path = '--config=experiments/word_problems.py:num_steps=2', tmp_path / 'made.jsonl'
    code, _, err = program('dataset', 'export', '--format=gsm8k', config, '--count=40', f'--out={path}')
    assert (code, err) == (0, '')
    assert program('dataset', 'check', '--format=gsm8k', f'--path={path}')[0] == 0
    code, out, _ = program('dataset', 'check', '--format=gsm8k', config, f'--path={path}')
    assert code == 0
    assert '40 of 40 chains are right, 0 are bad' in out
    lines = path.read_text().splitlines()
    path.write_text('\n'.join([*lines[:2], lines[2].replace('####', '#### 0'), PROBLEM]))
    code, out, _ = program('dataset', 'check', '--format=gsm8k', config, f'--path={path}')
    assert code == 1
    assert 'line 3: ' in out
    assert 'line 4: ' in out
    assert '2 of 4 chains are right, 2 are bad' in out


@pytest.mark.parametrize(
    'answer', ['<<1+1=3>>3\n#### 3', '<<1+1=2>>3\n#### 2', '<<1+1=2>>2', '<<a=2>>\n#### 2']
)
def test_one_wrong_thing_in_word_problems_is_status_1(answer, tmp_path, program):
    (tmp_path / 'file').write_text(records.dump('Is 1?', answer))
    assert program('dataset', 'check', '--format=gsm8k', f'--path={tmp_path / "file"}')[0] == 1


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
        (['check', '--format=gsm8k'], ['--path=FILE is missing']),
        (['check', '--format=gsm8k', '--path=no_such_file'], ['no_such_file cannot be read: No such file']),
        (['check', '--format=gsm8k', '--path=tests'], ['tests cannot be read: Is a directory']),
        (['check', '--format=gsm', '--path=x'], ['text|gsm8k']),
        (['check', '--format=gsm8k', ED, '--path=x'], ['x cannot be read: No such file']),
        (['export', '--format=gsm8k'], ['--config=FILE is missing', '--out=FILE is missing']),
        (['export', '--format=gsm8k', ED, '--out=x'], ["EditDistance has no form in GSM8K's format"]),
        (['show', '--format=gsm8k', ED], ['expected one command of export, check for --format=gsm8k']),
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
