"""What happens around training."""

import dataclasses

from effxf_jax import registry


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Evaluation, checkpoints and logging of a run.

    Attributes:
        num_eval_examples: test examples generated and graded after training.
        num_progress_examples: how many of these are also graded during training.
        eval_every: steps between gradings during training.
        eval_batch_size: test examples decoded at a time.
        checkpoint_every: steps between checkpoints.
        checkpoints_kept: how many of the latest checkpoints are kept.
        log_every: steps between points for TensorBoard; metrics.jsonl has every step.

    Raises:
        ValueError: values are below 1; the message names all of them.
    """

    num_eval_examples: int
    num_progress_examples: int
    eval_every: int
    eval_batch_size: int
    checkpoint_every: int
    checkpoints_kept: int
    log_every: int

    def __post_init__(self):
        registry.cast_fields(self)
        problems = [
            f'{field.name} must be at least 1; got {getattr(self, field.name)}'
            for field in dataclasses.fields(self)
            if getattr(self, field.name) < 1
        ]
        if problems:
            raise ValueError('\n'.join(problems))
