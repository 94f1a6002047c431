"""How to train."""

import dataclasses

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
        weight_decay: of matrices and embeddings; biases and LayerNorm are spared.
        beta1, beta2: Adam's averages.
        clip_norm: the largest global norm of a gradient.
        num_replicates: so many runs are trained side by side as one program, each as it would be alone, with
            seeds that count up from the configured one.

    Raises:
        ValueError: naming every value that is out of range.
    """

    steps: int
    batch_size: int
    learning_rate: float
    schedule: str = 'cosine'
    warmup_steps: int = 0
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 1.0
    num_replicates: int = 1

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
        problems += [
            f'{name} must be in [0, 1); got {getattr(self, name)}'
            for name in ('beta1', 'beta2')
            if not 0 <= getattr(self, name) < 1
        ]
        if not 0 <= self.warmup_steps <= self.steps:
            problems.append(f'warmup_steps must be from 0 to steps; got {self.warmup_steps} of {self.steps}')
        if not self.weight_decay >= 0:
            problems.append(f'weight_decay must be at least 0; got {self.weight_decay}')
        if self.schedule not in SCHEDULES:
            problems.append(f'schedule must be one of {", ".join(SCHEDULES)}; got {self.schedule!r}')
        if problems:
            raise ValueError('\n'.join(problems))
