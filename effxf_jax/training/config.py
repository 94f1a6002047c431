"""The training configuration, and the learning-rate schedule and optimiser that it defines."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optax

from effxf_jax import registry
from effxf_jax.model import ModelConfig, roles
from effxf_jax.training.optimizers import OPTIMIZERS, Optimizer, factories

SCHEDULES = ('cosine', 'linear')
MAX_STEPS = 2**31 - 1  # optimisers count in int32


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training configuration.

    Attributes:
        steps: number of updates, at most MAX_STEPS; with 0 a model is graded as it begins.
        batch_size: examples in a batch, over all hosts and devices.
        learning_rate: the peak learning rate.
        schedule: how the learning rate falls from its peak to zero, 'cosine' or 'linear'.
        warmup_steps: updates over which the learning rate rises linearly to its peak.
        optimizer: a name of `optimizers.OPTIMIZERS`.
        clip_norm: the global norm to which larger gradients are clipped.
        num_replicates: number of runs that are trained side by side as one program, each with the result it
            would have alone; their seeds count up from the configured seed.
        options: values of the options that the optimiser declares, by name; given as a mapping, kept as
            sorted pairs without those equal to the default.

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
        registry.cast_fields(self)
        problems = [
            f'{name} must be at least 1; got {getattr(self, name)}'
            for name in ('batch_size', 'num_replicates')
            if getattr(self, name) < 1
        ]
        problems += [
            f'{name} must be above 0; got {getattr(self, name)}'
            for name in ('learning_rate', 'clip_norm')
            if not getattr(self, name) > 0
        ]
        if not 0 <= self.steps <= MAX_STEPS:
            problems.append(f'steps must be from 0 to {MAX_STEPS:,}; got {self.steps}')
        if not 0 <= self.warmup_steps <= self.steps:
            problems.append(f'warmup_steps must be from 0 to steps; got {self.warmup_steps} of {self.steps}')
        if self.schedule not in SCHEDULES:
            problems.append(f'schedule must be one of {", ".join(SCHEDULES)}; got {self.schedule!r}')
        try:
            values = self.option_values()
            object.__setattr__(self, 'options', registry.changed_options(self.factories(), values))
            self.make_optimizer()
        except ValueError as error:
            problems += str(error).splitlines()
        if problems:
            raise ValueError('\n'.join(problems))

    def factories(self) -> dict[str, Callable[..., Optimizer]]:
        """The optimiser's factory by its name: the table that its options come from."""
        return factories(self.optimizer)

    def option_values(self) -> dict[str, Any]:
        """The value of every option of the optimiser, by name."""
        return registry.option_values(f'optimizer {self.optimizer!r}', self.factories(), dict(self.options))

    def make_optimizer(self) -> Optimizer:
        """Makes the optimiser with its options; see `optimizers`."""
        return OPTIMIZERS[self.optimizer](**dict(self.options))


def learning_rate_schedule(config: TrainConfig) -> optax.Schedule:
    """The learning rate by update: a linear rise over warmup_steps, then a fall to zero.

    The rate is zero at the last update if there is a warm-up, and otherwise one update later.
    """
    rise = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    rest = max(config.steps - config.warmup_steps, 1)
    if config.schedule == 'cosine':
        fall = optax.cosine_decay_schedule(config.learning_rate, rest)
    else:
        fall = optax.linear_schedule(config.learning_rate, 0.0, rest)
    # The first update evaluates the schedule at 0, where a warm-up is zero; the shift makes it count.
    schedule = optax.join_schedules([rise, fall], [config.warmup_steps])
    return (lambda count: schedule(count + 1)) if config.warmup_steps else schedule


def make_optimizer(config: TrainConfig, model: ModelConfig) -> optax.GradientTransformation:
    """Chains gradient clipping and the configured optimiser with its learning-rate schedule.

    Args:
        config: the training configuration.
        model: the configuration of the model to train; it defines the role of each parameter.
    """
    optimizer = config.make_optimizer()
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optimizer(learning_rate_schedule(config), roles(model)),
    )
