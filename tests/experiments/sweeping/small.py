"""Sweeps of a few tiny cells, and directories as their workers write them."""

import json

from ml_collections import ConfigDict

from effxf_jax.runs.directory import RunDirectory
from experiments.sweeping import cells

STEPS = 400
MODEL = 'experiments/arith.py:smoke,num_layers=1'
BASE = f'{MODEL},steps={STEPS},checkpoint_every=10,eval_every=1000,num_eval_examples=16'


def sweep(widths=(8, 12), mechanisms=('standard',), base=BASE, **fields):
    axes = {
        'mechanism': tuple(f'mechanism={m}' for m in mechanisms),
        'width': tuple(f'dim={width}' for width in widths),
    }
    config = {**cells.DEFAULTS, 'num_seeds': 1, 'side_by_side': 1, 'retries': 1, 'name': 'test'}
    grid = {name: fields.pop(name) for name in ('search', 'target') if name in fields}
    return cells.make_sweep(
        ConfigDict({**config, 'grids': {'tiny': cells.grid(base, axes, **grid)}} | fields)
    )


def result(seed, accuracy=0.5):
    """The content of result.json, with the fields that are read."""
    accuracies = dict.fromkeys(cells.METRICS, accuracy)
    sizes = {'forward_flops': 10**6, 'num_params': 1000, 'state_size': 96, 'train_steps': STEPS}
    return {**accuracies, 'seed': seed, 'teacher_forced_loss': 0.1, **sizes, 'first_errors': [0, 3, 1]}


def log(steps=STEPS, graded=(150, 350)):
    """Lines of metrics.jsonl; those of graded steps have accuracies."""
    lines = [{'step': step, 'loss': 1 / step, 'grad_norm': 1.0} for step in range(1, steps + 1)]
    return [line | ({'chain_accuracy': 0.25} if line['step'] in graded else {}) for line in lines]


def lay(directory, cell, done=False, failure=None, name=None):
    """Writes a cell's directory as a worker does: done, failed or unfinished; `name` is an earlier name."""
    top = RunDirectory(directory / (name or cell.name))
    top.claim(cell.experiment.record)
    alone = cell.experiment.replicates()
    for experiment in alone:
        run = RunDirectory(top.path / f'seed-{experiment.seed}' if len(alone) > 1 else top.path)
        run.claim(experiment.record)
        (run.path / 'checkpoints').mkdir()
        run.write_text('metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in log()))
        if done:
            run.write_text('result.json', json.dumps(result(experiment.seed)))
    if done and len(alone) > 1:
        results = [result(experiment.seed) for experiment in alone]
        top.write_text('result.json', json.dumps({'replicates': results}))
    if failure:
        top.write_text('failure.json', json.dumps(failure))
    return top.path
