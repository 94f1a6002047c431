"""Sweeps of a few tiny cells."""

from ml_collections import ConfigDict

from experiments.sweeping import cells

STEPS = 400
BASE = f'experiments/arith.py:smoke,steps={STEPS},checkpoint_every=10,eval_every=1000,num_eval_examples=16'


def sweep(widths=(8, 12), mechanisms=('standard',), **fields):
    axes = {
        'mechanism': tuple(f'mechanism={m}' for m in mechanisms),
        'width': tuple(f'dim={width}' for width in widths),
    }
    config = {**cells.DEFAULTS, 'num_seeds': 1, 'side_by_side': 1, 'retries': 1, 'name': 'test'}
    grid = {name: fields.pop(name) for name in ('search', 'target') if name in fields}
    return cells.make_sweep(
        ConfigDict({**config, 'grids': {'tiny': cells.grid(BASE, axes, **grid)}} | fields)
    )
