"""The first host sends its values to the others, and no host waits long for one that is gone."""

import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from effxf_jax.runs import hosts
from tests.experiments import programs
from tests.experiments.programs import wait_for

JOIN = """
import sys
from effxf_jax.runs import hosts
address, (process_id, timeout, heartbeat) = sys.argv[1], map(int, sys.argv[2:5])
hosts.HEARTBEAT_SECONDS = heartbeat
try:
    hosts.join(address, 2, process_id, timeout)
except hosts.JoinError as error:
    sys.exit(str(error))
print('joined', flush=True)
"""


def address():
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return f'localhost:{probe.getsockname()[1]}'


started = []


@pytest.fixture(autouse=True)
def no_process_survives_its_test():
    yield
    for process in started:
        process.kill()
        process.communicate()
    started.clear()


def start(program, address, process_id, timeout=60, devices=1, flags='', heartbeat=hosts.HEARTBEAT_SECONDS):
    flags = f'--xla_force_host_platform_device_count={devices} {flags}'
    process = programs.start(
        address, process_id, timeout, heartbeat,
        module='hosts', program=JOIN + program, variables={'XLA_FLAGS': flags},
    )  # fmt: skip
    started.append(process)
    return process


def start_two(program, devices=(1, 1), **kwargs):
    where = address()
    return [start(program, where, rank, devices=count, **kwargs) for rank, count in enumerate(devices)]


def end(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.slow
def test_every_host_has_bit_for_bit_what_the_first_one_makes_and_no_other_makes_it():
    program = """
import jax, numpy as np
def make():
    assert jax.process_index() == 0
    return {'none': None, 'bits': np.array([-0.0, np.nan, 1e-42], np.float32), 'text': 'é'}
made = hosts.from_first(make)
print(made['bits'].tobytes().hex(), made['none'], made['text'], hosts.from_first(lambda: None))
"""
    bits = np.array([-0.0, np.nan, 1e-42], np.float32).tobytes().hex()
    for process in start_two(program):
        code, out, err = end(process)
        assert code == 0, err
        assert out.splitlines()[-1] == f'{bits} None é None'


@pytest.mark.slow
def test_each_host_may_take_longer_than_a_collective_waits():
    program = """
import time, jax
hosts.from_first(int)
hosts.from_first(lambda: time.sleep(6))
if jax.process_index() == 1:
    time.sleep(6)
print(hosts.from_first(lambda: 'made'))
"""
    for process in start_two(program, flags='--xla_cpu_collective_timeout_seconds=2'):
        code, out, err = end(process)
        assert code == 0, err
        assert out.splitlines()[-1] == 'made'


@pytest.mark.slow
def test_a_host_takes_signals_while_the_first_one_takes_its_time():
    program = """
import signal, time, jax
def stop(number, frame): raise SystemExit('stopped')
signal.signal(signal.SIGTERM, stop)
hosts.from_first(int)
try:
    print('met', flush=True)
    if jax.process_index() == 0:
        hosts.from_first(lambda: time.sleep(600))
    hosts.from_first(int)
except SystemExit as error:
    print(error, flush=True)
    hosts.leave(1)
"""
    first, second = start_two(program, heartbeat=8)
    for process in first, second:
        wait_for(lambda process=process: 'met\n' in process.out.read_text(), process)
    second.terminate()
    code, out, err = end(second)
    assert (code, out.splitlines()[-1]) == (1, 'stopped'), err
    code, _, err = end(first)
    assert code == 1
    assert err.splitlines()[-1] == f'Stopped: {hosts.GONE}'


@pytest.mark.slow
def test_a_host_that_hangs_ends_the_others_within_a_minute_with_one_message():
    first, second = start_two("""
hosts.from_first(int)
print('met', flush=True)
while True: hosts.from_first(int)
""")
    for process in first, second:
        wait_for(lambda process=process: 'met\n' in process.out.read_text(), process)
    second.send_signal(signal.SIGSTOP)
    code, _, err = end(first)
    assert code == 1
    assert err.splitlines()[-1] == f'Stopped: {hosts.GONE}'
    assert err.count('Stopped') == 1


@pytest.mark.slow
def test_a_host_that_fails_tells_why_and_the_other_does_not_wait_for_it():
    program = """
import jax
hosts.from_first(int)
if jax.process_index() == {rank}:
    raise ValueError('no space left')
while True: hosts.from_first(int)
"""
    jobs = [start_two(program.replace('{rank}', rank), heartbeat=8) for rank in '01']
    for rank, processes in enumerate(jobs):
        code, _, err = end(processes[rank])
        assert code == 1
        assert err.splitlines()[-1] == 'ValueError: no space left'
        code, _, err = end(processes[1 - rank])
        assert code == 1
        assert err.splitlines()[-1].startswith(f'Stopped: {hosts.GONE}')
        assert err.count('Stopped') == 1
        assert 'Traceback' not in err


@pytest.mark.slow
def test_one_that_the_others_do_not_meet_in_time_says_so():
    addresses = address(), address()
    lonely = [start('', where, rank, timeout=1) for rank, where in enumerate(addresses)]
    for where, process in zip(addresses, lonely, strict=True):
        code, out, err = end(process)
        assert (code, out) == (1, '')
        assert err.splitlines()[-1].startswith(f'Stopped: not all hosts connected at {where} within 1 s')


@pytest.mark.slow
def test_a_signal_ends_a_host_that_does_not_handle_it():
    processes = start_two('import time; time.sleep(30)')
    for process in processes:
        wait_for(lambda process=process: process.out.read_text() == 'joined\n', process)
    processes[1].terminate()
    assert end(processes[1])[0] == -signal.SIGTERM


@pytest.mark.slow
def test_hosts_that_differ_in_their_number_of_devices_are_refused():
    for process in start_two('', devices=(1, 2)):
        code, out, err = end(process)
        assert (code, out) == (1, '')
        assert err == 'every host must have the same number of devices; got 1, 2\n'


def test_what_is_missing_or_wrong_is_said_at_once():
    program = """
import pytest
from effxf_jax.runs import hosts
for message, arguments in [
    ("HOST:PORT; got 'localhost'", ['localhost', 2, 0]),
    ('process id .* must be defined.* process_id are all required', ['localhost:1', 2]),
    ('process_id=2', ['localhost:1', 2, 2]),
    ('coordinator_address should be defined.*No job of SLURM.* process_id are all required', []),
]:
    with pytest.raises(hosts.JoinError, match=message):
        hosts.join(*arguments)
"""
    subprocess.run([sys.executable, '-c', program], check=True)
