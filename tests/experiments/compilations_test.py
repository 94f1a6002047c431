"""A compiled program is found again by the next process."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from experiments import compilations
compilations.keep()
import jax
print(jax.config.jax_compilation_cache_dir)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((3, 3)))
print(sum(event == '/jax/compilation_cache/cache_hits' for event in found))
"""


def run_program(**variables):
    environment = {k: v for k, v in os.environ.items() if k != 'JAX_COMPILATION_CACHE_DIR'} | variables
    command = [sys.executable, '-c', PROGRAM]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    directory, hits = output.split()
    return directory, int(hits)


def test_the_next_process_finds_what_was_compiled(tmp_path):
    directory, hits = run_program(XDG_CACHE_HOME=str(tmp_path))
    assert Path(directory).parent == tmp_path / 'effxf_jax'
    assert hits == 0
    again, hits = run_program(XDG_CACHE_HOME=str(tmp_path))
    assert again == directory
    assert hits > 0


def test_the_users_own_setting_is_left_alone(tmp_path):
    directory, _ = run_program(JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'mine'))
    assert directory == str(tmp_path / 'mine')
