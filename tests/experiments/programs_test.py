"""A forked program ends as one that Python starts does, and does not outlive its test."""

import os
import signal
import time

from tests.experiments import programs


def start(program):
    return programs.start('word', module='words', program=program)


def test_output_errors_arguments_and_status_are_those_of_a_process():
    process = start("""
import atexit, sys
atexit.register(print, 'at exit')
print(sys.argv)
sys.exit('an error')
""")
    assert process.communicate(timeout=60) == ("['words', 'word']\nat exit\n", 'an error\n')
    assert process.returncode == 1


def test_a_signal_is_the_status_of_what_it_ends():
    process = start('import time; print(1, flush=True); time.sleep(600)')
    programs.wait_for(lambda: process.out.read_text() == '1\n', process)
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM


def test_a_program_that_nobody_waits_for_is_killed():
    process = start('import time; print(1, flush=True); time.sleep(600)')
    pid, out = process.pid, process.out
    programs.wait_for(lambda: out.read_text() == '1\n', process)
    del process
    deadline = time.monotonic() + 10
    while os.path.exists(f'/proc/{pid}') and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f'/proc/{pid}')
