"""Directories of sweeps with made-up accuracies that follow a known rule."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ml_collections import ConfigDict

from effxf_jax.runs.directory import RunDirectory
from effxf_jax.theory import complexity
from experiments.reporting import records
from experiments.sweeping import cells

# The width that reaches 90% where L is 19, and how it grows with L.
GROWTH = {'standard': (12.0, 0.0), 'linear': (14.0, 0.5), 'sparse': (40.0, 0.5)}


def accuracy(mechanism, length, dim, seed):
    """A logistic curve in log width that passes 0.9 at the needed width, a little shifted by seed."""
    least, exponent = GROWTH[mechanism]
    needed = least * (length / 19) ** exponent * (1 + 0.02 * (seed - 1))
    return float(1 / (1 + np.exp(-np.log(9) - 5 * np.log(dim / needed))))


def made_up_sweep():
    axes = {
        'mechanism': cells.values('mechanism', 'standard', 'linear', 'sparse'),
        'size': cells.values('n', 8, 16, 32),
        'width': cells.values('dim', 8, 16, 32, 64),
    }
    grid = cells.grid('experiments/lis.py:laptop,number_range=80', axes)
    return ConfigDict({**cells.DEFAULTS, 'name': 'made-up', 'grids': {'lis': grid}})


def write_run(path, experiment, replicates, reached):
    """The files of a run that is done, and how much it has learnt."""
    directory = RunDirectory(path)
    directory.claim(experiment.record)
    model = experiment.model
    result = {
        'answer_accuracy': reached, 'chain_accuracy': reached, 'teacher_forced_accuracy': reached,
        'teacher_forced_loss': 0.1, 'num_eval_examples': 1000, 'seed': experiment.seed,
        'first_errors': [0, 1, 2, 3, 4, model.max_length, 4, 3, 2, 1], 'num_replicates': replicates,
        'train_steps': experiment.train.steps, 'train_tokens': 10**6, 'num_params': 1000 * model.dim,
        'forward_flops': complexity.forward_cost(model).flops, 'state_size': complexity.state_size(model),
    }  # fmt: skip
    directory.write_text('result.json', json.dumps(result))
    lines = [{'step': step, 'loss': 1.0 / step, 'grad_norm': 1.0} for step in range(1, 251)]
    for graded in 149, 199:
        lines[graded] |= {'chain_accuracy': reached / 2, 'answer_accuracy': reached / 2}
    directory.write_text('metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in lines))


@pytest.fixture(scope='session')
def made_up(tmp_path_factory):
    """All done but the last three cells, of which one failed, one is under way and one is missing."""
    directory = tmp_path_factory.mktemp('sweeps') / 'made-up'
    directory.mkdir()
    sweep = cells.make_sweep(made_up_sweep())
    (directory / 'sweep.json').write_text(json.dumps(sweep.declaration()))
    *finished, failed, unfinished, _ = sweep.cells()
    for cell in finished:
        RunDirectory(directory / cell.name).claim(cell.experiment.record)
        for alone in cell.experiment.replicates():
            model = alone.model
            reached = accuracy(model.mechanism, model.max_length, model.dim, alone.seed)
            write_run(directory / cell.name / f'seed-{alone.seed}', alone, 3, reached)
    for cell in (failed, unfinished):
        for alone in cell.experiment.replicates():
            RunDirectory(directory / cell.name / f'seed-{alone.seed}').claim(alone.record)
    failure = {'error': 'diverged: <loss> is nan', 'diverged': True, 'traceback': ''}
    (directory / failed.name / 'failure.json').write_text(json.dumps(failure))
    return directory


@pytest.fixture(scope='session')
def grid(made_up):
    """What a report reads there."""
    (grid,) = records.read([made_up])
    return grid


@pytest.fixture(scope='session')
def reaching(grid):
    """The same, but that what is done at these labels has reached so much."""

    def changed(accuracy, *labels):
        here = grid.select(*labels)
        result = lambda run: {**run.result, 'chain_accuracy': accuracy} if run in here else run.result
        return replace(grid, runs=tuple(replace(run, result=result(run)) for run in grid.runs))

    return changed


@pytest.fixture(scope='session')
def others(tmp_path_factory):
    """A grid over two localities, each at two lengths, and one of learning rates; all done."""
    axes = {
        'mechanism': ('mechanism=sliding_window,window=8', 'mechanism=linear'),
        'size': tuple(f'pattern_length={m},rows={rows}' for m, rows in ((2, 6), (2, 12), (3, 4), (3, 9))),
        'width': cells.values('dim', 8, 12, 16, 20, 24, 32),
    }
    rates = {
        'mechanism': ('mechanism=linear',),
        'size': ('n=2',),
        'rate': cells.values('learning_rate', 0.1, 0.2),
    }
    grids = {
        'locality': cells.grid('experiments/ed_local.py:laptop', axes),
        'rates': cells.grid('experiments/arith.py:laptop,dim=8', rates),
    }
    directory = tmp_path_factory.mktemp('sweeps') / 'others'
    directory.mkdir()
    fields = {'num_seeds': 2, 'side_by_side': 1, 'name': 'others', 'grids': grids}
    sweep = cells.make_sweep(ConfigDict({**cells.DEFAULTS, **fields}))
    (directory / 'sweep.json').write_text(json.dumps(sweep.declaration()))
    for cell in sweep.cells():
        experiment = cell.experiment
        if cell.grid == 'locality':
            # A window needs what the pattern asks for; a state needs more as the sequence grows.
            needed = 10 * (experiment.task.pattern_length / 2) * (1 + 0.02 * experiment.seed)
            if experiment.model.mechanism == 'linear':
                needed *= (experiment.model.max_length / 42) ** 0.5
            reached = float(1 / (1 + np.exp(-np.log(9) - 5 * np.log(experiment.model.dim / needed))))
        else:
            reached = experiment.train.learning_rate
        write_run(directory / cell.name, experiment, 1, reached)
    return directory
