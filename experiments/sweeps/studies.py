"""Small studies in addition to Figure 1, each a grid; `only=hybrid` and so on select one.

Run with `python -m experiments.sweep --config=experiments/sweeps/studies.py`.

laptop (default):
    hybrid    two linear layers and a standard one, compared with linear layers and with standard layers alone
    direct    answers without a chain of thought, compared with answers after one
    budget    cells of Figure 1 that miss the target, with as many steps as there and with four times as many;
              budget_wide has those of width 32
    rate      arithmetic at twice the width at which its learning rates were searched, with the rate found
              and with half of it

Many of the cells are trained for Figure 1 already; --reuse=results/figure1-laptop.jsonl takes them from
there. Each mechanism has the learning rate found for it, also without a chain; the hybrid has linear
attention's.
smoke: a minute; the models learn nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeping import cells
from experiments.sweeping.cells import grid, values
from experiments.sweeps import bases


def _budgets(mechanisms, *cells):
    axes = {
        'mechanism': bases.mechanisms('lis', *mechanisms),
        'cell': cells,
        'steps': ('steps=8000', 'steps=32000,eval_every=8000'),
    }
    return grid(bases.LIS, axes)


PRESETS = {
    'laptop': {
        'grids': {
            'hybrid': grid(
                bases.LIS,
                {
                    'mechanism': bases.mechanisms('lis', 'linear', 'linear+linear+standard', 'standard'),
                    'size': values('n', 16, 24),
                    'width': values('dim', 8, 16, 32),
                },
            ),
            'direct': grid(
                bases.LIS,
                {
                    'mechanism': (
                        bases.mechanism('lis', 'standard'),
                        bases.mechanism('lis', 'standard', 'answer_mode=direct'),
                    ),
                    'size': values('n', 8, 16, 24),
                    'width': values('dim', 16, 32),
                },
                'answer_accuracy',
            ),
            'rate': grid(
                f'{bases.ARITHMETIC},dim=64',
                {
                    'mechanism': values('mechanism', 'standard', 'linear'),
                    'size': values('n', 3),
                    'rate': values('learning_rate', 0.004, 0.008),
                },
            ),
            'budget': _budgets(bases.PAPERS, 'n=16,dim=8', 'n=16,dim=16'),
            'budget_wide': _budgets(('linear', 'sparse'), 'n=16,dim=32'),
        },
    },
    'smoke': {
        'num_seeds': 1,
        'grids': {
            'direct': grid(
                'experiments/lis.py:smoke',
                {
                    'mechanism': ('answer_mode=chain', 'answer_mode=direct'),
                    'size': ('n=4',),
                    'width': ('dim=8',),
                },
                'answer_accuracy',
            ),
        },
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of a preset with overrides; see `experiments.sweeping.cells`."""
    return cells.build('studies', arg, PRESETS)
