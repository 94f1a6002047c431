"""Starting the main job as a user does, and watching it through the files that it writes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = '--config=experiments/arith.py:smoke'


def start(*flags, devices=2, variables=None, program=None):
    environment = {**os.environ, 'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}'}
    environment |= variables or {}
    del environment['JAX_DISABLE_MOST_OPTIMIZATIONS']
    return subprocess.Popen(
        [sys.executable, *(['-c', program] if program else ['-m', 'experiments.main']), *flags],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(*flags, **kwargs):
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
