"""How to train: the configuration, the learning rate by update, and the optimiser that follow from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import optax

from effxf_jax import registry
from effxf_jax.model import ModelConfig, decayed
from effxf_jax.training.optimizers import OPTIMIZERS, Optimizer

SCHEDULES = ('cosine', 'linear')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: updates.
        batch_size: examples in a batch, over all hosts and devices.
        learning_rate: the peak.
        schedule: 'cosine' or 'linear': how the rate falls from its peak to zero.
        warmup_steps: updates over which it rises to its peak, linearly.
        optimizer: a name of `optimizers.OPTIMIZERS`.
        clip_norm: the largest global norm of a gradient.
        num_replicates: so many runs are trained side by side as one program, each as it would be alone, with
            seeds that count up from the configured one.
        options: of the optimiser, by name, as its factory declares them: a mapping, kept as sorted pairs
            without those that have their default value.

    Raises:
        ValueError: naming every value that is out of range and every option that the optimiser lacks.
    """

    steps: int
    batch_size: int
    learning_rate: float
    schedule: str = 'cosine'
    warmup_steps: int = 0
    optimizer: str = 'adamw'
    clip_norm: float = 1.0
    num_replicates: int = 1
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        problems = [
            f'{name} must be at least 1; got {getattr(self, name)}'
            for name in ('steps', 'batch_size', 'num_replicates')
            if getattr(self, name) < 1
        ]
        problems += [
            f'{name} must be above 0; got {getattr(self, name)}'
            for name in ('learning_rate', 'clip_norm')
            if not getattr(self, name) > 0
        ]
        if not 0 <= self.warmup_steps <= self.steps:
            problems.append(f'warmup_steps must be from 0 to steps; got {self.warmup_steps} of {self.steps}')
        if self.schedule not in SCHEDULES:
            problems.append(f'schedule must be one of {", ".join(SCHEDULES)}; got {self.schedule!r}')
        given = dict(self.options)
        object.__setattr__(self, 'options', tuple(sorted(given.items())))
        try:
            known = self.option_values()
            self.make_optimizer()
            defaults = registry.defaults(OPTIMIZERS[self.optimizer])
            changed = {name: value for name, value in known.items() if value != defaults[name]}
            object.__setattr__(self, 'options', tuple(sorted(changed.items())))
        except (TypeError, ValueError) as error:
            problems += str(error).splitlines()
        if problems:
            raise ValueError('\n'.join(problems))

    def option_values(self) -> dict[str, Any]:
        """The optimiser's options with their values, by name."""
        name = registry.find('optimizer', self.optimizer, OPTIMIZERS)
        return registry.option_values(f'optimizer {name!r}', [OPTIMIZERS[name]], dict(self.options))

    def make_optimizer(self) -> Optimizer:
        """The optimiser with its options; see `optimizers`."""
        return OPTIMIZERS[self.optimizer](**dict(self.options))


def learning_rate_schedule(config: TrainConfig) -> optax.Schedule:
    """The rate by update: a linear rise over warmup_steps, then a fall to zero.

    Zero is reached with the last update if there is a warm-up, and one later if there is none.
    """
    rise = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    rest = max(config.steps - config.warmup_steps, 1)
    if config.schedule == 'cosine':
        fall = optax.cosine_decay_schedule(config.learning_rate, rest)
    else:
        fall = optax.linear_schedule(config.learning_rate, 0.0, rest)
    # The first update uses the schedule at 0; shifted by one so that it is not wasted.
    schedule = optax.join_schedules([rise, fall], [config.warmup_steps])
    return (lambda count: schedule(count + 1)) if config.warmup_steps else schedule


def make_optimizer(config: TrainConfig, model: ModelConfig) -> optax.GradientTransformation:
    """Gradient clipping and the configured optimiser, with the learning rate by update.

    Args:
        config: how to train.
        model: whose parameters; its mechanisms declare which of them decay.
    """
    optimizer = config.make_optimizer()
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optimizer(learning_rate_schedule(config), decayed(model)),
    )
