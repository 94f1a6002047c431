"""A run on several hosts as a user meets it: stopped, killed, and gone on with by fewer or more of them."""

import json
import os
import signal
import socket

import pytest

from tests.experiments.programs import SMOKE, has_step, metrics, run, start, wait_for

RESUMES = 'the same command on all hosts resumes'


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('whole') / 'run'
    code, _, err = run(SMOKE, f'--workdir={workdir}')
    assert code == 0, err
    return workdir


def start_hosts(workdir, *flags_of_each, variables_of_each=({}, {})):
    """Two hosts of one device each, without a common file system."""
    return [
        start('--distributed', SMOKE, f'--workdir={directory}', *flags, devices=1, variables=variables)
        for directory, flags, variables in zip(
            (workdir, elsewhere(workdir)), flags_of_each, variables_of_each, strict=True
        )
    ]


def start_as_slurm(workdir):
    job = {'SLURM_JOB_ID': str(os.getpid()), 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '2'}
    ranks = [{'SLURM_PROCID': rank, 'SLURM_LOCALID': rank} for rank in '01']
    return start_hosts(workdir, [], [], variables_of_each=[job | rank for rank in ranks])


def start_by_hand(workdir):
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        address = f'localhost:{probe.getsockname()[1]}'
    flags = [f'--coordinator_address={address}', '--num_processes=2']
    return start_hosts(workdir, *([*flags, f'--process_id={rank}'] for rank in '01'))


def elsewhere(workdir):
    return workdir.with_name('of-the-second-host')


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


@pytest.mark.slow
def test_a_signal_to_either_stops_both_and_one_host_goes_on_bit_for_bit_as_if_it_had_been_alone(
    uninterrupted, tmp_path
):
    workdir = tmp_path / 'run'
    hosts = start_as_slurm(workdir)
    wait_for(lambda: has_step(workdir, 13), hosts[0])
    hosts[1].send_signal(signal.SIGTERM)
    for host in hosts:
        _, err = host.communicate(timeout=120)
        assert host.returncode == 128 + signal.SIGTERM, err
        assert err == 'Stopped by SIGTERM. To resume, run the same command again.\n'
    saved = max(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())
    assert saved == len(metrics(workdir))
    assert metrics(workdir) == metrics(uninterrupted)[:saved]
    assert not elsewhere(workdir).exists()  # the first host alone writes

    code, out, err = run(SMOKE, f'--workdir={workdir}')
    assert code == 0, err
    assert f'resuming after step {saved}' in out
    assert is_like(workdir, uninterrupted)


@pytest.mark.slow
def test_two_hosts_go_on_where_one_was_killed_end_when_either_is_and_resume_bit_for_bit(
    uninterrupted, tmp_path
):
    workdir = tmp_path / 'run'
    alone = start(SMOKE, f'--workdir={workdir}')
    wait_for(lambda: (workdir / 'checkpoints' / '10').exists(), alone)
    alone.kill()
    alone.communicate()

    log = workdir / 'metrics.jsonl'
    # While training, and while evaluating, which every host does by itself.
    for victim, step in (1, 14), (0, 19):
        before = log.stat().st_ino
        hosts = start_by_hand(workdir)
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

    for out in finish(*start_by_hand(workdir)):
        assert 'resuming after step 10' in out
    assert not elsewhere(workdir).exists()
    assert is_like(workdir, uninterrupted)


@pytest.mark.slow
def test_what_the_first_host_refuses_ends_the_second_too(tmp_path):
    workdir = tmp_path / 'run'
    workdir.mkdir()
    (workdir / 'config.json').write_text('{"seed": 1}')
    first, second = start_by_hand(workdir)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 2
    assert 'belongs to another configuration' in err
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert RESUMES in err.splitlines()[-1]
