"""The main program end to end: one command, killed and started again, or with invalid arguments."""

import functools
import json
import os
import signal
import subprocess
import sys

import pytest

import effxf_jax
from effxf_jax import tasks
from effxf_jax.data import text_files
from effxf_jax.data.dp_chains import DpChains
from effxf_jax.runs import run as runs
from effxf_jax.runs.listener import Silent
from experiments import arith, configs, console
from tests.experiments import programs
from tests.experiments.programs import SMOKE, has_step, metrics, wait_for

# As a user compiles it: what is compiled here is found again by each test that resumes it.
start, run = (functools.partial(function, optimized=True) for function in (programs.start, programs.run))

TASK = arith.get_config('smoke').task.to_dict()
RESULT_FIELDS = {
    'answer_accuracy', 'chain_accuracy', 'teacher_forced_accuracy', 'teacher_forced_loss',
    'num_eval_examples', 'distinct_test_prompts', 'train_steps', 'train_tokens', 'wall_seconds',
    'tokens_per_second', 'num_params',
    'jax_version', 'version', 'machine',
}  # fmt: skip


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """The directory and the output of a run in a process that Python starts, as every other one is forked."""
    workdir = tmp_path_factory.mktemp('whole') / 'run'
    done = subprocess.run(
        [sys.executable, '-m', 'experiments.main', SMOKE, f'--workdir={workdir}'],
        cwd=programs.ROOT, env=programs.environment(optimized=True), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


@pytest.mark.slow
def test_one_command_trains_decodes_grades_and_says_so(uninterrupted):
    workdir, out = uninterrupted
    result = json.loads((workdir / 'result.json').read_text())
    assert set(result) >= RESULT_FIELDS
    assert result['train_steps'] == 30
    assert result['num_eval_examples'] == 48
    assert result['devices'] == '2 x cpu'
    assert result['version'] == effxf_jax.__version__
    assert result['machine'].endswith(f', {os.cpu_count()} cores')
    assert [line['step'] for line in metrics(workdir)] == list(range(1, 31))
    assert all(line['loss'] > 0 for line in metrics(workdir))
    assert metrics(workdir)[19].keys() > {'answer_accuracy', 'chain_accuracy'}
    assert json.loads((workdir / 'config.json').read_text())['task'] == TASK
    assert (workdir / 'samples.txt').read_text().count('example ') == 12
    assert list(workdir.glob('events.out.tfevents.*'))
    for part in 'mechanism: standard', 'step 20: answers', 'answer accuracy', 'wall time', 'example 2':
        assert part in out


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ed', 'ed_local', 'equations', 'lis', 'word_problems'])
def test_the_smoke_preset_of_every_config_trains_decodes_and_grades(name, tmp_path, capsys):
    experiment = configs.make_experiment(configs.load(f'experiments/{name}.py:smoke'), 4)
    (result,) = runs.run(experiment, tmp_path, console.TerminalListener(30))
    assert set(result) >= RESULT_FIELDS
    assert (result['train_steps'], result['num_eval_examples']) == (30, 48)
    assert metrics(tmp_path)[-1]['loss'] < metrics(tmp_path)[0]['loss']
    assert 'example 2' in capsys.readouterr().out


@pytest.fixture(scope='module')
def losses_on(tmp_path_factory):
    """The log of a run on a fixed training set, generated or stored."""

    @functools.cache
    def losses(source):
        workdir = tmp_path_factory.mktemp('run')
        config = configs.load(f'experiments/arith.py:smoke,num_layers=1,num_train_examples=200{source}')
        runs.run(configs.make_experiment(config, 4), workdir, Silent())
        return metrics(workdir)

    return losses


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['text', 'tfds'])
def test_a_run_on_stored_examples_is_that_on_generated_ones(kind, losses_on, tmp_path):
    task = tasks.make(**TASK)
    path = tmp_path / 'data'
    if kind == 'text':
        text_files.write(path, task, 0, 'train', 200)
    else:
        builder = DpChains.of(task, data_dir=path, num_train_examples=200, num_test_examples=48)
        builder.download_and_prepare()
    assert losses_on(f',source={kind},path={path}') == losses_on('')


@pytest.mark.slow
def test_data_that_are_bad_are_refused_before_anything_is_written(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('5 + 5 = 1\n')
    code, _, err = run(f'{SMOKE},source=text,path={path}', f'--workdir={tmp_path / "run"}')
    assert code == 2
    assert 'has 1 bad lines; line 1' in err
    assert 'Traceback' not in err
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_a_finished_run_is_shown_again_at_once(uninterrupted):
    workdir, out = uninterrupted
    before = (workdir / 'result.json').read_text()
    code, again, _ = run(SMOKE, f'--workdir={workdir}')
    assert code == 0
    assert out[out.index('answer accuracy') :] == again[again.index('answer accuracy') :]
    assert (workdir / 'result.json').read_text() == before


@pytest.mark.slow
def test_killed_while_training_it_resumes_with_bit_identical_losses(uninterrupted, tmp_path):
    workdir = tmp_path / 'run'
    before = lambda: has_step(workdir, 3)
    after = lambda: (workdir / 'checkpoints' / '10').exists()
    for condition in before, after:  # its first checkpoint
        process = start(SMOKE, f'--workdir={workdir}')
        wait_for(condition, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, out, err = run(SMOKE, f'--workdir={workdir}')
    assert code == 0, err
    assert 'resuming after step' in out
    assert metrics(workdir) == metrics(uninterrupted[0])
    same = ('answer_accuracy', 'chain_accuracy', 'teacher_forced_loss', 'train_tokens')
    results = [json.loads((w / 'result.json').read_text()) for w in (workdir, uninterrupted[0])]
    assert [results[0][key] for key in same] == [results[1][key] for key in same]


@pytest.mark.slow
def test_killed_while_saving_it_resumes_with_bit_identical_losses(uninterrupted, tmp_path):
    for attempt in range(5):  # the save may be done before the kill comes
        workdir = tmp_path / str(attempt)
        process = start(SMOKE, f'--workdir={workdir}')
        saving = lambda place=workdir / 'checkpoints': any('tmp' in path.name for path in place.glob('20*'))
        wait_for(saving, process, pause=0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not (workdir / 'checkpoints' / '20').exists():
            break
    else:
        pytest.fail('no kill came while it saved')
    code, _, err = run(SMOKE, f'--workdir={workdir}')
    assert code == 0, err
    assert metrics(workdir) == metrics(uninterrupted[0])


@pytest.mark.slow
def test_sigterm_saves_says_how_to_resume_and_fails(uninterrupted, tmp_path):
    workdir = tmp_path / 'run'
    process = start(SMOKE, f'--workdir={workdir}')
    wait_for(lambda: has_step(workdir, 12), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert 'Stopped by SIGTERM' in err
    assert 'run the same command again' in err
    assert 'Traceback' not in err
    saved = max(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())
    assert saved == len(metrics(workdir))
    assert saved >= 12
    code, out, err = run(SMOKE, f'--workdir={workdir}')
    assert code == 0, err
    assert f'resuming after step {saved}' in out
    assert metrics(workdir) == metrics(uninterrupted[0])


@pytest.mark.slow
def test_a_directory_of_another_configuration_is_refused_naming_the_fields(uninterrupted):
    workdir, _ = uninterrupted
    code, _, err = run(SMOKE + ',dim=32,learning_rate=1e-3', f'--workdir={workdir}')
    assert code == 2
    assert 'model.dim is 16 there and 32 here' in err
    assert 'train.learning_rate' in err
    assert 'Traceback' not in err


@pytest.mark.slow
def test_divergence_is_said_with_its_step_and_fails(tmp_path):
    code, _, err = run(f'{SMOKE},learning_rate=1e30', f'--workdir={tmp_path / "run"}')
    assert code == 1
    assert 'Training diverged: the loss is nan' in err
    assert 'at step' in err
    assert 'Traceback' not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ('flags', 'messages'),
    [
        (
            [SMOKE, '--config.model.dmi=3', '--config.train.stpes=2'],
            ["'model.dmi'; did you mean model.dim", "'train.stpes'"],
        ),
        ([SMOKE, '--config.model.dim=wide'], ['model.dim must be of type int', 'wide']),
        (
            [f'{SMOKE}x', '--config.model.dim', '63', '--config.train.batch_size=3', '--workdir=setup.cfg/x'],
            ["unknown preset 'smokex'", 'dim must be', 'the 2 devices; got 3', 'not a directory'],
        ),
        ([f'{SMOKE},dim=63', '--workdir=setup.cfg/run'], ['setup.cfg is not a directory', 'dim must be']),
        ([SMOKE, '--workdir=gs://bucket/run'], ['gs://bucket/run is a URL; expected a path on this machine']),
        (['--config=experiments/nothing.py'], ["no config file 'experiments/nothing.py'"]),
        ([], ['--config=FILE is missing']),
        ([SMOKE, '--no_such_flag=1'], ['no_such_flag']),
        ([SMOKE, 'stray'], ["'stray'"]),
        (['--config=experiments/sweeps/figure1.py'], ['a sweep is run by python -m experiments.sweep']),
        (
            [SMOKE, '--distributed'],
            ['hosts cannot connect', 'coordinator_address, num_processes and process_id'],
        ),
        (
            [SMOKE, '--process_id=0', '--num_processes=2'],
            ['--num_processes, --process_id without --distributed'],
        ),
    ],
    ids=lambda value: None,
)  # fmt: skip
def test_nonsense_gets_one_message_naming_all_problems_and_writes_nothing(flags, messages, tmp_path):
    workdir = tmp_path / 'run'
    flags = flags if any(flag.startswith('--workdir') for flag in flags) else [*flags, f'--workdir={workdir}']
    code, _, err = run(*flags)
    assert code == 2
    for message in messages:
        assert message in err
    assert 'Traceback' not in err
    assert not workdir.exists()
