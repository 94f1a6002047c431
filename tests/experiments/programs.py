"""Starts programs as a user does, and observes their output and files."""

import functools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = '--config=experiments/arith.py:smoke'


class Program:
    """One that `fork_server` has forked, with the methods that `subprocess.Popen` has."""

    def __init__(self, module, argv, environment, program=None):
        self._directory = tempfile.TemporaryDirectory()
        self.out, self.err = (Path(self._directory.name) / name for name in ('out', 'err'))
        self.out.touch()
        self.returncode = None
        self._connection, other = socket.socketpair()
        request = {
            'module': module,
            'argv': [module, *map(str, argv)],
            'program': program,
            'environment': environment,
            'trains': module == 'experiments.main',
            'out': str(self.out),
            'err': str(self.err),
        }
        with other:
            socket.send_fds(_server(), [b'.'], [other.fileno()])
        self._connection.sendall(json.dumps(request).encode() + b'\n')
        self._told = self._connection.makefile()
        self.pid = int(self._told.readline())

    def wait(self, timeout=None):
        """The exit status, once the program has ended."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.pid, timeout)
            self.returncode = int(self._told.readline())
        return self.returncode

    def poll(self):
        """The exit status, or None where the program runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(self, timeout=None):
        """Output and errors, once the program has ended."""
        self.wait(timeout)
        return self.out.read_text(), self.err.read_text()

    def send_signal(self, number):
        """Sends a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@functools.cache
def _server():
    """The socket of this process's fork server, which ends with it."""
    ours, theirs = socket.socketpair()
    with theirs:
        script = Path(__file__).with_name('fork_server.py')
        subprocess.Popen(
            [sys.executable, script, str(theirs.fileno())],
            cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
        )  # fmt: skip
    return ours


def environment(devices=2, optimized=False):
    """The tests' variables, with so many devices; optimized, programs are compiled as a user's are."""
    variables = dict(os.environ)
    flags = re.sub(r'device_count=\d+', f'device_count={devices}', variables['XLA_FLAGS'])
    if optimized:
        flags = flags.split()[0]
        del variables['JAX_DISABLE_MOST_OPTIMIZATIONS']
    return variables | {'XLA_FLAGS': flags}


def start(*flags, module='experiments.main', variables=None, program=None, **kwargs):
    """A program under way: a module's, or one of so much text in its place."""
    return Program(module, flags, environment(**kwargs) | (variables or {}), program)


def run(*flags, **kwargs):
    """A program's exit status, output and errors."""
    process = start(*flags, **kwargs)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def metrics(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def wait_for(condition, process, pause=0.01):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(pause)


def has_step(workdir, step):
    path = workdir / 'metrics.jsonl'
    return path.exists() and path.read_text().count('\n') >= step
