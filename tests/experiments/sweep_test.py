"""The program that runs sweeps, end to end: stopped, started again, reported on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from effxf_jax.model import Transformer
from effxf_jax.runs.directory import RunDirectory
from experiments import sweep
from experiments.sweeping import cells
from experiments.sweeps import figure1
from tests.experiments.sweeping import small

SMOKE = '--config=experiments/sweeps/figure1.py:smoke'
ROOT = Path(__file__).parents[2]
CONFIG = """
from experiments.sweeping import cells

MODEL = 'experiments/arith.py:smoke,num_layers=1'
BASE = f'{MODEL},steps=200,checkpoint_every=200,eval_every=100,num_eval_examples=16'
AXES = {'mechanism': ('mechanism=linear',), 'size': ('n=2',), 'width': cells.values('dim', 8, 12)}


def get_config(arg=None):
    grids = {'tiny': cells.grid(BASE, AXES)}
    return cells.build('tiny', arg, {'laptop': {'num_seeds': 1, 'side_by_side': 1, 'grids': grids}})
"""


def logs(directory):
    return [path for path in directory.glob('*/metrics.jsonl') if path.read_text().count('\n') > 4]


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
        assert steps == list(range(1, 201))

    written = [path.stat().st_mtime_ns for path in results]
    code, _, err = program('sweep', *flags)
    assert code == 0, err
    assert [path.stat().st_mtime_ns for path in results] == written

    code, out, err = program('report', directory)
    assert code == 0, err
    assert '2 runs: 2 done' in (directory / 'report' / 'index.html').read_text()


@pytest.mark.slow
def test_a_dry_run_prints_the_cells_with_their_cost_and_writes_nothing(tmp_path, program):
    finished = next(cells.make_sweep(figure1.get_config('smoke')).cells())
    small.lay(tmp_path / 'other', finished, done=True)
    (tmp_path / 'other' / 'sweep.json').write_text('{}')
    flags = '--dry_run', f'--directory={tmp_path / "sweep"}', f'--reuse={tmp_path / "other"}'
    code, out, err = program('sweep', SMOKE, *flags)
    assert code == 0, err
    assert '9 cells' in out
    for part in ('edit_distance', 'sparse', '0 to 1'):
        assert part in out
    assert (out.count('to copy'), out.count('to run ')) == (1, 8)
    total, left = (float(number) for number in re.findall(r'([\d.e+]+) (?:training FLOPs|of them)', out))
    assert total - left == pytest.approx(finished.train_flops, rel=0.1)
    assert not (tmp_path / 'sweep').exists()


@pytest.mark.parametrize('retry_failed, failed, to_run', [(False, 1, 8), (True, 0, 9)])
def test_a_dry_run_counts_a_failed_cell_as_the_run_will(tmp_path, capsys, retry_failed, failed, to_run):
    smoke = cells.make_sweep(figure1.get_config('smoke'))
    cell = next(smoke.cells())
    run = RunDirectory(small.lay(tmp_path, cell, failure={'error': 'out of memory'}))
    sweep.print_cells(smoke, tmp_path, retry_failed=retry_failed)
    out = capsys.readouterr().out
    assert (out.count('failed'), out.count('to run ')) == (failed, to_run)
    # So it is where another sweep's cell has diverged, which is copied unless it is to be begun again.
    run.write_text('failure.json', json.dumps({'error': 'the loss is nan', 'diverged': True}))
    (tmp_path / 'sweep.json').write_text('{}')
    sweep.print_cells(smoke, tmp_path / 'other', [tmp_path], retry_failed)
    again = capsys.readouterr().out
    assert (again.count('to copy'), again.count('to run ')) == (failed, to_run)
    params = Transformer(cell.experiment.model).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    assert f' {sum(x.size for x in jax.tree.leaves(params)):,} ' in out


@pytest.mark.slow
@pytest.mark.parametrize(
    'flags, messages',
    [
        ([], ['--config=FILE is missing', 'experiments/sweeps/figure1.py']),
        ([f'{SMOKE},only=sorting', '--directory=setup.cfg/x'], ["no grid 'sorting'", 'not a directory']),
        ([f'{SMOKE}x,num_seed=3'], ["unknown preset 'smokex'", 'did you mean num_seeds']),
        ([SMOKE, 'stray'], ["'stray'"]),
        ([SMOKE, '--reuse=none.jsonl'], ['or files of results; got none.jsonl']),
        ([SMOKE, '--reuse=docs'], ['or files of results; got docs']),
        (['--config=experiments/arith.py'], ['configuration of a run, for python -m experiments.main']),
    ],
)
def test_nonsense_gets_one_message(flags, messages, tmp_path, program):
    code, _, err = program('sweep', *flags)
    assert code == 2
    for message in messages:
        assert message in err
