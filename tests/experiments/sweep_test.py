"""The program that runs sweeps, as a user meets it: stopped, started again, reported on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
from experiments.sweeping import cells

BASE = 'experiments/arith.py:smoke,steps=400,checkpoint_every=10,eval_every=200,num_eval_examples=16'
AXES = {'mechanism': ('mechanism=linear',), 'size': ('n=2',), 'width': cells.values('dim', 8, 12)}


def get_config(arg=None):
    grids = {'tiny': cells.grid(BASE, AXES)}
    return cells.build('tiny', arg, {'laptop': {'num_seeds': 1, 'side_by_side': 1, 'grids': grids}})
"""


def logs(directory):
    return [path for path in directory.glob('*/metrics.jsonl') if path.read_text().count('\n') > 40]


@pytest.mark.slow
def test_stopped_from_the_terminal_the_same_command_goes_on_and_then_there_is_nothing_to_do(
    tmp_path, program
):
    config, directory = tmp_path / 'tiny.py', tmp_path / 'sweep'
    config.write_text(CONFIG)
    flags = [f'--config={config}', f'--directory={directory}']
    process = subprocess.Popen(
        [sys.executable, '-m', 'experiments.sweep', *flags],
        cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not logs(directory):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all that it has started
    _, err = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGINT, err
    assert 'To resume, run the same command again' in err
    assert 'Traceback' not in err
    assert not list(directory.rglob('failure.json'))

    code, out, err = program('sweep', *flags)
    assert code == 0, err
    assert '2 of 2 cells done' in out
    assert f'python -m experiments.report {directory}' in out
    results = sorted(directory.glob('*/result.json'))
    assert len(results) == 2
    for path in results:
        steps = [json.loads(line)['step'] for line in (path.parent / 'metrics.jsonl').open()]
        assert steps == list(range(1, 401))

    written = [path.stat().st_mtime_ns for path in results]
    code, _, err = program('sweep', *flags)
    assert code == 0, err
    assert [path.stat().st_mtime_ns for path in results] == written

    code, out, err = program('report', directory)
    assert code == 0, err
    assert '2 runs: 2 done' in (directory / 'report' / 'index.html').read_text()
