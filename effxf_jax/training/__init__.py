"""Loss, optimiser, the pmapped train step, and training in one call."""

from effxf_jax.training.config import TrainConfig, learning_rate_schedule, make_optimizer
from effxf_jax.training.fit import fit
from effxf_jax.training.losses import TokenLosses, token_losses
from effxf_jax.training.optimizers import OPTIMIZERS
from effxf_jax.training.step import (
    DivergedError,
    Metrics,
    TrainState,
    check_finite,
    init_state,
    make_train_step,
    run_steps,
)

__all__ = [
    'OPTIMIZERS',
    'DivergedError',
    'Metrics',
    'TokenLosses',
    'TrainConfig',
    'TrainState',
    'check_finite',
    'fit',
    'init_state',
    'learning_rate_schedule',
    'make_optimizer',
    'make_train_step',
    'run_steps',
    'token_losses',
]
