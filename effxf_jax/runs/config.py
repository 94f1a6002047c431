"""What a run begins with, and what happens around training."""

import dataclasses
import math

from effxf_jax import registry

RANDOM = 'random'


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The start, evaluation, checkpoints and logging of a run.

    Attributes:
        num_eval_examples: test examples generated and graded after training.
        num_progress_examples: how many of these are also graded during training.
        eval_every: steps between gradings during training.
        eval_batch_size: test examples decoded at a time.
        checkpoint_every: steps between checkpoints.
        checkpoints_kept: how many of the latest checkpoints are kept.
        log_every: steps between points for TensorBoard; metrics.jsonl has every step.
        start: the weights that the run begins with: RANDOM, or a construction's name; see
            `constructions.weights`.
        start_noise: noise of a construction's weights, relative to each weight.

    Raises:
        ValueError: values are out of range; the message names all of them.
    """

    num_eval_examples: int
    num_progress_examples: int
    eval_every: int
    eval_batch_size: int
    checkpoint_every: int
    checkpoints_kept: int
    log_every: int
    start: str = RANDOM
    start_noise: float = 0.0

    def __post_init__(self):
        registry.cast_fields(self)
        problems = [
            f'{field.name} must be at least 1; got {getattr(self, field.name)}'
            for field in dataclasses.fields(self)
            if field.type is int and getattr(self, field.name) < 1
        ]
        if not 0 <= self.start_noise < math.inf:
            problems.append(f'start_noise must be at least 0 and finite; got {self.start_noise}')
        elif self.start_noise and self.start == RANDOM:
            problems.append(f'start_noise requires a construction as start; got {RANDOM!r}')
        if problems:
            raise ValueError('\n'.join(problems))
