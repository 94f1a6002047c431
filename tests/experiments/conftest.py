"""Programs as a user meets them."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def program():
    """Runs `python -m experiments.NAME` with arguments; its exit status, output and errors."""

    def run(name, *args):
        done = subprocess.run(
            [sys.executable, '-m', f'experiments.{name}', *map(str, args)],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert 'Traceback' not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run
