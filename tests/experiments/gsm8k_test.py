"""The config of files in GSM8K's format: one path serves data and task, and every program takes it."""

import functools
import json
import signal

import pytest

from effxf_jax.gsm8k import records
from experiments import configs, gsm8k, theory
from experiments.sweeping import cells
from tests.experiments import programs
from tests.experiments.programs import metrics, wait_for

start, run = (functools.partial(function, optimized=True) for function in (programs.start, programs.run))


@pytest.fixture
def paths(tmp_path):
    """The overrides for a training file of 80 problems and a test file of 20."""
    answer = 'It is {0}+1 = <<{0}+1={1}>>{1}.\n#### {1}'
    lines = [records.dump(f'What is {i} and one?', answer.format(i, i + 1)) + '\n' for i in range(100)]
    (tmp_path / 'train.jsonl').write_text(''.join(lines[:80]))
    (tmp_path / 'test.jsonl').write_text(''.join(lines[80:]))
    return f'path={tmp_path / "train.jsonl"},test_path={tmp_path / "test.jsonl"}'


@pytest.mark.parametrize('preset', ['laptop', 'smoke'])
def test_every_preset_makes_an_experiment(preset, paths):
    made = configs.make_experiment(configs.load(f'experiments/gsm8k.py:{preset},{paths}'))
    assert made.data.source == 'gsm8k'
    assert (made.task.train_file, made.task.test_file) == (made.data.path, made.data.test_path)
    assert json.loads(json.dumps(made.record))['task']['train_file'] == made.data.path
    assert type(made).from_difference(made.difference) == made
    assert preset in gsm8k.__doc__


def test_the_tasks_files_are_the_datas_unless_they_are_given():
    load = lambda arg: configs.load(f'experiments/gsm8k.py:{arg}')
    config = load('smoke,path=a,test_path=b,train_file=c')
    assert (config.task.train_file, config.task.test_file) == ('c', 'b')
    config = load('smoke,train_file=c')
    assert config.data.path is None
    config = load('smoke')
    config.data.path = 'd'  # as the flag --config.data.path does
    assert config.task.train_file == 'd'
    config.task.train_file = 'e'
    assert config.data.path == 'd'
    assert config.to_dict()['task']['train_file'] == 'e'


@pytest.mark.parametrize(
    ('arg', 'problems'),
    [
        ('', ['task: train_file must be given', "data: path must be given for source 'gsm8k'"]),
        (',path=missing', ['task: train_file: missing cannot be read: No such file or directory']),
        (',path=missing,dim=3', ['task: train_file: missing cannot be read', 'model: dim must be divisible']),
    ],
)
def test_a_missing_file_is_one_message(arg, problems):
    with pytest.raises(configs.ConfigError) as error:
        configs.make_experiment(configs.load(f'experiments/gsm8k.py:smoke{arg}'))
    for problem in problems:
        assert any(found.startswith(problem) for found in error.value.problems)


def test_a_part_of_an_argument_that_is_wrong_hides_no_file(paths):
    with pytest.raises(configs.ConfigError) as error:
        configs.load(f'experiments/gsm8k.py:smoke,{paths},dmi=3')
    assert len(error.value.problems) == 1
    assert configs.make_experiment(error.value.config).task.train_file in paths


def test_a_sweep_and_the_theory_take_it(paths):
    grid = cells.grid(
        f'experiments/gsm8k.py:smoke,{paths}',
        {'mechanism': ('mechanism=linear',), 'width': ('dim=16', 'dim=32')},
    )
    sweep = cells.make_sweep(cells.build('files', '', {'laptop': {'grids': {'gsm8k': grid}}}))
    assert sweep.grids[0].metric == 'answer_accuracy'
    assert all(cell.experiment.task.train_file in paths for cell in sweep.cells())
    made = next(sweep.cells()).experiment
    report = theory.describe(made.task, made.model, [16])
    assert all(row['least_width'] == 0 and row['construction'] is None for row in report['width_bounds'])
    assert theory.larger_tasks(made.task) == [made.task]
    with pytest.raises(ValueError, match='no width is claimed for this task, so there is nothing to draw'):
        theory.draw(made.task, made.model, None, 'no.png')


@pytest.mark.slow
def test_examples_are_shown_and_those_with_several_lines_are_no_text(paths, program, tmp_path):
    config = f'--config=experiments/gsm8k.py:{paths}'
    code, out, _ = program('dataset', 'show', config, '--count=2')
    assert code == 0
    assert out.count('#### ') == 2
    out_path = tmp_path / 'out'
    code, _, err = program('dataset', 'export', config, f'--out={out_path}')
    assert code == 2
    assert 'have several lines' in err
    code, _, err = program('dataset', 'export', config, '--format=gsm8k', '--count=30', f'--out={out_path}')
    assert code == 0, err
    code, out, err = program('dataset', 'check', config, '--format=gsm8k', f'--path={out_path}')
    assert code == 0, err
    assert '30 of 30 chains are right' in out


@pytest.mark.slow
def test_killed_while_training_on_a_file_it_resumes_with_bit_identical_losses(paths, tmp_path):
    config = f'--config=experiments/gsm8k.py:smoke,{paths},num_layers=1'
    code, out, err = run(config, f'--workdir={tmp_path / "whole"}')
    assert code == 0, err
    assert 'answer accuracy' in out
    process = start(config, f'--workdir={tmp_path / "run"}')
    wait_for((tmp_path / 'run' / 'checkpoints' / '10').exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, out, err = run(config, f'--workdir={tmp_path / "run"}')
    assert code == 0, err
    assert 'resuming after step' in out
    assert metrics(tmp_path / 'run') == metrics(tmp_path / 'whole')
    assert metrics(tmp_path / 'run')[-1]['loss'] < metrics(tmp_path / 'run')[0]['loss']
    samples = (tmp_path / 'run' / 'samples.txt').read_text()
    assert 'What is 8' in samples
    assert 'and one?<sep>' in samples
