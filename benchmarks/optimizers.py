"""A training step with Muon, against one with AdamW.

    python -m benchmarks.optimizers [--out=DIR]

LIS with n = 40, whose rows all have 84 tokens, three layers, batches of 64.
"""

from absl import app

from benchmarks import measure
from benchmarks.replicates import STEPS, steps_of

_WIDTHS = (32, 64, 128)
_OPTIMIZERS = ('adamw', 'muon')


def main(argv):
    del argv
    rows = []
    for dim in _WIDTHS:
        run = f'experiments/lis.py:n=40,number_range=250,batch_size=64,dim={dim}'
        seconds = measure.in_turn({name: steps_of(f'{run},optimizer={name}') for name in _OPTIMIZERS})
        rows += [
            {
                'dim': dim,
                'optimizer': name,
                'ms a step': seconds[name] / STEPS * 1e3,
                'over AdamW': seconds[name] / seconds['adamw'],
            }
            for name in _OPTIMIZERS
        ]
    measure.report('optimizers', rows)


if __name__ == '__main__':
    app.run(main)
