"""Loss, optimiser, the pmapped train step, and training in one call."""

from effxf_jax.training.calls import Call, DivergedError, check_finite, run_steps, updates_in_call
from effxf_jax.training.config import TrainConfig, learning_rate_schedule, make_optimizer
from effxf_jax.training.fit import fit
from effxf_jax.training.losses import TokenLosses, token_losses
from effxf_jax.training.optimizers import OPTIMIZERS
from effxf_jax.training.step import Metrics, TrainState, init_state, make_train_step

__all__ = [
    'OPTIMIZERS',
    'Call',
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
    'updates_in_call',
]
