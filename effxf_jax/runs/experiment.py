"""What a run is to do: everything that its outcome depends on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from effxf_jax.data.blocks import DataError
from effxf_jax.data.sources import DataConfig, Sources, open_sources
from effxf_jax.model import ModelConfig
from effxf_jax.tasks import Task
from effxf_jax.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What happens around training.

    Attributes:
        num_eval_examples: test examples generated and graded at the end.
        num_progress_examples: of these, how many are also graded while training.
        eval_every: steps between these gradings.
        eval_batch_size: test examples decoded at a time.
        checkpoint_every: steps between checkpoints.
        checkpoints_kept: how many of the latest checkpoints stay.
        log_every: steps between points for TensorBoard; metrics.jsonl has every step.

    Raises:
        ValueError: naming every value below 1.
    """

    num_eval_examples: int
    num_progress_examples: int
    eval_every: int
    eval_batch_size: int
    checkpoint_every: int
    checkpoints_kept: int
    log_every: int

    def __post_init__(self):
        problems = [
            f'{field.name} must be at least 1; got {getattr(self, field.name)}'
            for field in dataclasses.fields(self)
            if getattr(self, field.name) < 1
        ]
        if problems:
            raise ValueError('\n'.join(problems))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that a run's outcome depends on.

    Attributes:
        seed: of parameters, dropout and data; the first one, of replicates.
        task, model, data, train, run: the parts.
        record: all of it as nested plain values: what config.json holds, and what a directory must agree
            with to be gone on with.
    """

    seed: int
    task: Task
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    run: RunConfig
    record: Mapping[str, Any]

    def replicates(self) -> list['Experiment']:
        """The runs to be trained side by side, one for each seed; of one, itself."""
        count = self.train.num_replicates
        if count == 1:
            return [self]
        train = dataclasses.replace(self.train, num_replicates=1)
        train_record = {**self.record['train'], 'num_replicates': 1}
        return [
            dataclasses.replace(
                self, seed=seed, train=train, record={**self.record, 'seed': seed, 'train': train_record}
            )
            for seed in range(self.seed, self.seed + count)
        ]

    def open_data(self) -> Sources:
        """The examples to train and to test on.

        Raises:
            DataError: they are not there, or too few.
            OSError: they cannot be read.
        """
        sources = open_sources(self.data, self.task, self.seed)
        most, asked = sources.test.num_examples, self.run.num_eval_examples
        if most is not None and asked > most:
            raise DataError(f'num_eval_examples must be at most {most:,}, the test examples; got {asked:,}')
        return sources
