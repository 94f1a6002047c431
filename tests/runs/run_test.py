"""Each replicate equals a run of its seed alone, and a diverging one leaves the others intact."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import evaluation, training
from effxf_jax.model import Transformer
from effxf_jax.runs import run
from effxf_jax.runs.checkpoints import Checkpoints
from effxf_jax.runs.directory import InUseError, MismatchError, RunDirectory
from effxf_jax.runs.listener import Silent
from effxf_jax.theory import complexity
from effxf_jax.training import config as train_config
from experiments import arith, configs, console, construct


@pytest.mark.slow
def test_divergence_names_its_step_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    # The update of step 4 is enormous: its own loss is still fine, the next one's is not a number.
    explodes = lambda config: lambda count: jnp.where(count < 3, 1e-3, 1e30)
    monkeypatch.setattr(train_config, 'learning_rate_schedule', explodes)
    experiment = configs.make_experiment(arith.get_config('smoke,checkpoint_every=1'))
    with pytest.raises(training.DivergedError, match='after step 4, whose state is not saved'):
        run.run(experiment, tmp_path, Silent())

    model = Transformer(experiment.model)
    like = training.init_state(model, training.make_optimizer(experiment.train, experiment.model), 0)
    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        kept = checkpoints.restore_latest(like)
    assert kept.state.step == 3
    assert np.isfinite(
        evaluation.mean_loss(model, kept.state.params, experiment.open_data().test.read(np.arange(16)))
    )


@pytest.mark.slow
@pytest.mark.parametrize('seeds', [1, 2])
def test_divergence_within_a_call_names_its_step_and_the_steps_before_are_logged(
    tmp_path, monkeypatch, seeds
):
    explodes = lambda config: lambda count: jnp.where(count < 3, 1e-3, 1e30)
    monkeypatch.setattr(train_config, 'learning_rate_schedule', explodes)
    config = arith.get_config(f'smoke,checkpoint_every=30,eval_every=30,num_replicates={seeds}')
    with pytest.raises(training.DivergedError, match='at step 5'):
        run.run(configs.make_experiment(config, 4), tmp_path, Silent())
    for log in tmp_path.rglob('metrics.jsonl'):
        assert [line['step'] for line in lines(log.parent)] == [1, 2, 3, 4]
        seeds -= 1
    assert not seeds


def experiment(extra='', seed=5):
    return configs.make_experiment(arith.get_config(f'smoke,seed={seed}{extra}'), 4)


def lines(directory):
    return [json.loads(line) for line in (directory / 'metrics.jsonl').read_text().splitlines()]


def accuracies(result):
    return [result[name] for name in ('answer_accuracy', 'chain_accuracy', 'teacher_forced_loss')]


@pytest.fixture(scope='module')
def together(tmp_path_factory):
    """Three replicates, never interrupted."""
    workdir = tmp_path_factory.mktemp('together')
    return workdir, run.run(experiment(',num_replicates=3'), workdir, Silent())


@pytest.mark.slow
def test_a_replicate_leaves_the_directory_that_its_seed_leaves_alone(together, tmp_path):
    workdir, results = together
    (alone,) = run.run(experiment(seed=6), tmp_path, Silent())
    own = workdir / 'seed-6'
    assert json.loads((own / 'config.json').read_text()) == json.loads((tmp_path / 'config.json').read_text())
    for ours, theirs in zip(lines(own), lines(tmp_path), strict=True):
        assert ours['loss'] == pytest.approx(theirs['loss'], rel=1e-3)
        assert ours.keys() == theirs.keys()
    result = json.loads((own / 'result.json').read_text())
    assert result == results[1]
    assert result.keys() == alone.keys()
    assert (result['seed'], result['num_replicates']) == (6, 3)
    assert (alone['seed'], alone['num_replicates']) == (6, 1)
    config = experiment().model
    assert result['forward_flops'] == complexity.forward_cost(config).flops
    assert result['state_size'] == complexity.state_size(config)
    assert result['train_tokens'] == alone['train_tokens']
    assert sum(result['first_errors']) == round(48 * (1 - result['chain_accuracy']))
    assert result['teacher_forced_loss'] == pytest.approx(alone['teacher_forced_loss'], rel=1e-3)
    assert (own / 'samples.txt').read_text().count('example ') == 12
    # Its checkpoint is an ordinary one: as a run alone, the directory is done, and can be gone on with.
    copy = shutil.copytree(own, tmp_path / 'copy')
    assert run.run(experiment(seed=6), copy, Silent()) == [result]
    (copy / 'result.json').unlink()
    (again,) = run.run(experiment(seed=6), copy, Silent())
    assert accuracies(again) == accuracies(result)


@pytest.mark.slow
def test_replicates_are_all_reported_and_differ(together):
    workdir, results = together
    assert json.loads((workdir / 'result.json').read_text()) == {'replicates': results}
    assert [result['seed'] for result in results] == [5, 6, 7]
    firsts = [lines(workdir / f'seed-{seed}')[0]['loss'] for seed in (5, 6, 7)]
    assert len(set(firsts)) == 3
    assert run.run(experiment(',num_replicates=3'), workdir, Silent()) == results


@pytest.mark.slow
def test_replicates_killed_while_they_are_graded_are_graded_again(together, tmp_path):
    workdir, results = shutil.copytree(together[0], tmp_path / 'copy'), together[1]
    (workdir / 'result.json').unlink()
    (workdir / 'seed-6' / 'result.json').unlink()  # its checkpoint was written before
    again = run.run(experiment(',num_replicates=3'), workdir, Silent())
    assert [accuracies(result) for result in again] == [accuracies(result) for result in results]
    assert (again[0], again[2]) == (results[0], results[2])


class Stopping(Silent):
    """Ends the run, as a kill would, when a step is reported."""

    def __init__(self, step):
        self._step = step

    def stepped(self, step, metrics):
        if step == self._step:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_replicates_resume_with_bit_identical_losses(together, tmp_path):
    for step in (4, 17):
        with pytest.raises(KeyboardInterrupt):
            run.run(experiment(',num_replicates=3'), tmp_path, Stopping(step))
    results = run.run(experiment(',num_replicates=3'), tmp_path, Silent())
    for result, expected in zip(results, together[1], strict=True):
        assert accuracies(result) == accuracies(expected)
        assert result['train_tokens'] == expected['train_tokens']
        seed = f'seed-{result["seed"]}'
        assert lines(tmp_path / seed) == lines(together[0] / seed)


@pytest.mark.slow
def test_a_run_with_adamw_resumes_with_bit_identical_losses(tmp_path):
    with_adamw = experiment(',optimizer=adamw')
    whole = run.run(with_adamw, tmp_path / 'whole', Silent())
    with pytest.raises(KeyboardInterrupt):
        run.run(with_adamw, tmp_path / 'stopped', Stopping(17))
    resumed = run.run(with_adamw, tmp_path / 'stopped', Silent())
    assert accuracies(resumed[0]) == accuracies(whole[0])
    assert lines(tmp_path / 'stopped') == lines(tmp_path / 'whole')


@pytest.mark.slow
def test_training_repairs_constructed_weights_with_noise_and_resumes_with_bit_identical_losses(tmp_path):
    config = configs.load(
        'experiments/ed.py:smoke,n=4,lengths=equal,num_heads=4,optimizer=adamw,start_noise=0.003'
    )
    config.train.learning_rate = 3e-4
    _, _, before = construct.make(config)
    _, _, after = construct.make(config, steps=150)
    (broken,) = run.run(before, tmp_path / 'before', Silent())
    (repaired,) = run.run(after, tmp_path / 'whole', Silent())
    assert repaired['chain_accuracy'] > max(0.9, broken['chain_accuracy'])
    with pytest.raises(KeyboardInterrupt):
        run.run(after, tmp_path / 'stopped', Stopping(17))
    run.run(after, tmp_path / 'stopped', Silent())
    assert lines(tmp_path / 'stopped') == lines(tmp_path / 'whole')


def poison(monkeypatch, seeds):
    """Makes runs of some seeds start with a parameter that is not a number."""
    init = training.init_state

    def poisoned(model, optimizer, seed):
        state = init(model, optimizer, seed)
        if seed in seeds:
            state.params['head']['bias'] = state.params['head']['bias'].at[0].set(jnp.nan)
        return state

    monkeypatch.setattr(training, 'init_state', poisoned)


@pytest.mark.slow
def test_a_replicate_that_diverges_does_not_stop_the_others(together, tmp_path, monkeypatch, capsys):
    poison(monkeypatch, {6})
    with pytest.raises(training.DivergedError, match='^seed 6: the loss is nan .* at step 1;'):
        run.run(experiment(',num_replicates=3'), tmp_path, console.TerminalListener(30, 3))
    shown = capsys.readouterr().out
    for part in (
        'seed 6 diverged and stops; the others continue: the loss is nan',
        'step 20, seed 7: answers',
        '│ 5 ',
        '│ 7 ',
        'example 2',
    ):
        assert part in shown
    assert '│ 6 ' not in shown
    for number, seed in (0, 'seed-5'), (2, 'seed-7'):
        assert lines(tmp_path / seed) == lines(together[0] / seed)
        result = json.loads((tmp_path / seed / 'result.json').read_text())
        assert accuracies(result) == accuracies(together[1][number])
    assert not lines(tmp_path / 'seed-6')
    assert not (tmp_path / 'seed-6' / 'result.json').exists()
    assert not (tmp_path / 'result.json').exists()
    # Started again, it has nothing left to do but to say so.
    with pytest.raises(training.DivergedError, match='^seed 6: the loss is nan .* at step 1;'):
        run.run(experiment(',num_replicates=3'), tmp_path, Stopping(30))


@pytest.mark.slow
def test_a_replicate_in_use_is_left_alone(tmp_path):
    own = RunDirectory(tmp_path / 'seed-6')
    (alone,) = experiment(seed=6).replicates()
    own.claim(alone.record)
    with own.lock(), pytest.raises(InUseError, match='seed-6'):
        run.run(experiment(',num_replicates=3'), tmp_path, Silent())
    assert not (own.path / 'metrics.jsonl').exists()
    (own.path / 'config.json').write_text('{"seed": 7}')
    with pytest.raises(MismatchError, match='seed is 7 there and 6 here'):
        run.run(experiment(',num_replicates=3'), tmp_path / '.', Silent())


@pytest.mark.slow
def test_training_ends_when_no_replicate_is_left(tmp_path, monkeypatch):
    poison(monkeypatch, {5, 6})
    with pytest.raises(training.DivergedError) as error:
        run.run(experiment(',num_replicates=2'), tmp_path, Stopping(5))
    assert [line[:6] for line in str(error.value).splitlines()] == ['seed 5', 'seed 6']


def test_seeds_of_replicates_must_all_be_in_range():
    config = arith.get_config(f'smoke,seed={2**31 - 2},num_replicates=3')
    with pytest.raises(configs.ConfigError, match='got 2147483646 to 2147483648'):
        configs.make_experiment(config)
    with pytest.raises(configs.ConfigError, match='train: num_replicates must be of type int; got None'):
        configs.make_experiment(arith.get_config('smoke,num_replicates=none'))
    with pytest.raises(configs.ConfigError, match='num_replicates must be at least 1; got 0'):
        configs.make_experiment(arith.get_config('smoke,num_replicates=0'))
