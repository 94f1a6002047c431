"""TensorFlow is imported by programs that train, and by no others."""

import subprocess
import sys

import pytest

# Forks, since programs may share names of flags, of a process that has imported what they share.
PROGRAM = """
import importlib, os, sys
import experiments.console, experiments.configs
for name in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(f'experiments.{name}')
        print(name, 'tensorflow' in sys.modules)
        break
    os.wait()
"""


@pytest.mark.slow
def test_a_program_does_not_wait_for_it_before_it_trains():
    programs = ['main', 'sweep', 'report', 'theory', 'probe', 'dataset']
    found = subprocess.run(
        [sys.executable, '-c', PROGRAM, *programs], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [f'{name} False' for name in programs]
