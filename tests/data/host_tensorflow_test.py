"""TensorFlow is imported by what trains, and by nothing else."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize('program', ['main', 'sweep', 'report', 'theory', 'probe', 'dataset'])
def test_a_program_does_not_wait_for_it_before_it_trains(program):
    code = f"import sys, experiments.{program}; print('tensorflow' in sys.modules)"
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert found.stdout == 'False\n'
