"""A run on several hosts, end to end: stopped, killed, and resumed by fewer or more hosts."""

import functools
import json
import os
import signal
import socket

import numpy as np
import pytest

from tests.experiments.programs import SMOKE, has_step, metrics, run, start, wait_for

RESUMES = 'to resume, run the same command on all hosts again'
# Long enough for hosts to compare notes before it is over. All tests train the same, compiled once.
STEPS = 80
RUN = f'{SMOKE},num_layers=1,steps={STEPS},eval_every={STEPS}'
EVALUATED = f'{SMOKE},num_layers=1,steps={STEPS},eval_every=20'


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """Directories of runs on one host, by their configuration."""

    @functools.cache
    def make(config, devices=2):
        workdir = tmp_path_factory.mktemp('whole') / 'run'
        code, _, err = run(config, f'--workdir={workdir}', devices=devices)
        assert code == 0, err
        return workdir

    return make


def start_hosts(config, workdirs, *flags_of_each, variables_of_each=({}, {}), **kwargs):
    """Two hosts, by default of one device each."""
    kwargs = {'devices': 1} | kwargs
    return [
        start('--distributed', config, f'--workdir={workdir}', *flags, variables=variables, **kwargs)
        for workdir, flags, variables in zip(workdirs, flags_of_each, variables_of_each, strict=True)
    ]


def start_as_slurm(config, workdirs, **kwargs):
    job = {'SLURM_JOB_ID': str(os.getpid()), 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '2'}
    ranks = [{'SLURM_PROCID': rank, 'SLURM_LOCALID': rank} for rank in '01']
    return start_hosts(config, workdirs, [], [], variables_of_each=[job | rank for rank in ranks], **kwargs)


def start_by_hand(config, workdirs, flags_of_each=((), ()), **kwargs):
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        address = f'localhost:{probe.getsockname()[1]}'
    shared = [f'--coordinator_address={address}', '--num_processes=2']
    own = ([*shared, f'--process_id={rank}', *flags] for rank, flags in enumerate(flags_of_each))
    return start_hosts(config, workdirs, *own, **kwargs)


@pytest.fixture
def workdirs(tmp_path):
    """Of both hosts, which have no common file system: on the second one no directory can be made there."""
    (tmp_path / 'of-the-second-host').write_text('a file')
    return tmp_path / 'run', tmp_path / 'of-the-second-host' / 'run'


def finish(*hosts):
    outs = []
    for host in hosts:
        out, err = host.communicate(timeout=300)
        assert host.returncode == 0, err
        outs.append(out)
    return outs


def is_like(workdir, uninterrupted):
    same = ('answer_accuracy', 'chain_accuracy', 'teacher_forced_loss', 'train_tokens')
    results = [json.loads((w / 'result.json').read_text()) for w in (workdir, uninterrupted)]
    assert [results[0][key] for key in same] == [results[1][key] for key in same]
    assert metrics(workdir) == metrics(uninterrupted)
    return True


COMPARING = """
from absl import app, logging
from effxf_jax.runs import termination
from experiments import main
logging.set_verbosity(logging.WARNING)
termination._AGREE_SECONDS = {seconds}
app.run(main.main)
"""


@pytest.mark.slow
def test_a_signal_to_either_stops_both_and_one_host_goes_on_bit_for_bit_as_if_it_had_been_alone(
    uninterrupted, workdirs
):
    workdir, _ = workdirs
    # So often that however fast a machine is they do before all steps are made.
    hosts = start_as_slurm(RUN, workdirs, program=COMPARING.format(seconds=0.05))
    wait_for(lambda: has_step(workdir, 13), hosts[0])
    hosts[1].send_signal(signal.SIGTERM)
    for host in hosts:
        _, err = host.communicate(timeout=120)
        assert host.returncode == 128 + signal.SIGTERM, err
        assert err == 'Stopped by SIGTERM. To resume, run the same command again.\n'
    saved = max(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())
    assert saved == len(metrics(workdir)) < STEPS
    assert metrics(workdir) == metrics(uninterrupted(RUN))[:saved]

    code, out, err = run(RUN, f'--workdir={workdir}')
    assert code == 0, err
    assert f'resuming after step {saved}' in out
    assert is_like(workdir, uninterrupted(RUN))


@pytest.mark.slow
def test_a_signal_after_hosts_have_compared_notes_for_the_last_time_stops_both_after_the_last_step(workdirs):
    workdir, _ = workdirs
    hosts = start_by_hand(RUN, workdirs, program=COMPARING.format(seconds=1e9))
    wait_for(lambda: has_step(workdir, 13), hosts[0])
    hosts[1].send_signal(signal.SIGTERM)
    for host in hosts:
        _, err = host.communicate(timeout=120)
        assert host.returncode == 128 + signal.SIGTERM, err
    assert len(metrics(workdir)) == STEPS
    assert (workdir / 'checkpoints' / str(STEPS)).exists()
    assert not (workdir / 'result.json').exists()


@pytest.mark.slow
def test_two_hosts_go_on_where_one_was_killed_end_when_either_is_and_resume_bit_for_bit(
    uninterrupted, workdirs
):
    workdir, _ = workdirs
    alone = start(EVALUATED, f'--workdir={workdir}')
    wait_for(lambda: (workdir / 'checkpoints' / '10').exists(), alone)
    alone.kill()
    alone.communicate()

    log = workdir / 'metrics.jsonl'
    # While training, and while the first host evaluates.
    for victim, step in (1, 14), (0, 19):
        before = log.stat().st_ino
        hosts = start_by_hand(EVALUATED, workdirs)
        # A run that resumes writes its log anew, without what came after the checkpoint.
        wait_for(lambda before=before: log.stat().st_ino != before, hosts[0])
        wait_for(lambda step=step: has_step(workdir, step), hosts[0])
        hosts[victim].kill()
        _, err = hosts[1 - victim].communicate(timeout=60)
        assert hosts[1 - victim].returncode == 1
        assert RESUMES in err.splitlines()[-1]
        assert err.count(RESUMES) == 1
        assert 'Traceback' not in err
        hosts[victim].communicate()

    first, second = finish(*start_by_hand(EVALUATED, workdirs))
    assert 'resuming after step 10' in first
    said = [line for line in second.splitlines() if 'Gloo' not in line]
    assert said == ['host 1, devices: 2 x cpu; host 0 shows the progress']
    assert is_like(workdir, uninterrupted(EVALUATED))


GRADING = """
import time
import jax
from absl import app
from effxf_jax import evaluation
from experiments import main
evaluate = evaluation.evaluate
def slowly(*args):
    assert jax.process_index() == 0
    time.sleep(2)
    return evaluate(*args)
evaluation.evaluate = slowly
app.run(main.main)
"""


@pytest.mark.slow
def test_hosts_of_two_devices_train_replicates_as_one_of_four_does_and_the_first_alone_grades_them(
    uninterrupted, workdirs
):
    config = f'{SMOKE},num_replicates=2'
    finish(*start_by_hand(config, workdirs, devices=2, program=GRADING))
    alone = uninterrupted(config, devices=4)
    for seed in 'seed-0', 'seed-1':
        ours, theirs = (
            np.array([line['loss'] for line in metrics(workdir / seed)]) for workdir in (workdirs[0], alone)
        )
        assert len(ours) == 30
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        assert (workdirs[0] / seed / 'result.json').exists()


@pytest.mark.slow
def test_a_host_that_is_to_do_something_else_is_refused_and_nothing_is_written(workdirs):
    first, second = start_by_hand(SMOKE, workdirs, ([], ['--config.seed=1', '--config.train.beta2=0.9']))
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert 'the first host and this one differ: examples is [' in err
    for difference in 'seed is 0 there and 1 here', 'train.beta2 is 0.999 there and 0.9 here':
        assert difference in err
    _, err = first.communicate(timeout=60)
    assert first.returncode == 2
    assert 'hosts [1] differ from the first one; their messages say where' in err
    assert not workdirs[0].exists()


@pytest.mark.slow
def test_what_the_first_host_refuses_ends_the_second_too(workdirs):
    workdir, _ = workdirs
    workdir.mkdir()
    (workdir / 'config.json').write_text('{"seed": 1}')
    first, second = start_by_hand(SMOKE, workdirs)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 2
    assert 'belongs to another configuration' in err
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert RESUMES in err.splitlines()[-1]
