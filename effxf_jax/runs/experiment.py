"""What a run is to do: everything that its outcome depends on, and the name that follows from it.

A run's name follows from what differs from the defaults, so a new field with a default renames no run. If a
default changes, the first one remains the reference (`registry.FIRST_DEFAULTS`), so names keep their meaning.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from effxf_jax import evaluation, registry, tasks
from effxf_jax.constructions import weights
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.data import sources
from effxf_jax.data.blocks import DataError
from effxf_jax.data.sources import DataConfig, Sources
from effxf_jax.model import ModelConfig
from effxf_jax.runs.config import RANDOM, RunConfig
from effxf_jax.runs.record import (
    MAX_SEED,
    SECTIONS,
    ExperimentError,
    drop_early_options,
    option_fields,
    read,
    section_fields,
)
from effxf_jax.tasks import Task
from effxf_jax.training import TrainConfig

SCHEMA_VERSION = 1
"""The version of the rules by which names are made. Raising it renames all runs."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that a run's outcome depends on.

    Attributes:
        seed: seed of parameters, dropout and data; with replicates, the first one's seed.
        task, model, data, train, run: the sections.

    Raises:
        ExperimentError: a seed is out of range.
    """

    seed: int
    task: Task
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    run: RunConfig

    def __post_init__(self):
        last = self.seed + self.train.num_replicates - 1
        if not 0 <= self.seed <= last <= MAX_SEED:
            raise ExperimentError([
                f'seeds must be from 0 to 2^31 - 1; got {self.seed}'
                + (f' to {last}' if last > self.seed else '')
            ])  # fmt: skip

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> 'Experiment':
        """Creates an experiment from a record of this version or an earlier one.

        Args:
            record: nested values, as in `record`. Fields with a default may be missing.

        Raises:
            ExperimentError: fields are missing, unknown or out of range; the message names all of them.
        """
        return cls(**read(drop_early_options(record)))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> 'Experiment':
        """Like `from_record`, of values that somebody has given: every unused option is refused.

        Raises:
            ExperimentError: see `from_record`; or the model cannot begin with its construction.
        """
        made = cls(**read(values))
        if made.run.start != RANDOM:
            try:
                weights.check(made.task, made.model, made.run.start)
            except ConstructionError as error:
                raise ExperimentError([f'run: {error}']) from error
        return made

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """The experiment as nested plain values: the content of config.json."""
        record: dict[str, Any] = {'seed': self.seed}
        record['task'] = {'name': tasks.name_of(self.task), **dataclasses.asdict(self.task)}
        for section in SECTIONS:
            part = getattr(self, section)
            record[section] = {field.name: getattr(part, field.name) for field in section_fields(section)}
            if option_fields(section):
                record[section] |= part.option_values()
        return record

    @functools.cached_property
    def difference(self) -> dict[str, Any]:
        """The fields that differ from their defaults or have none, by dotted name; see `from_difference`."""
        difference: dict[str, Any] = {'seed': self.seed} if self.seed else {}
        difference['task.name'] = tasks.name_of(self.task)
        difference |= {f'task.{name}': value for name, value in tasks.given_options(self.task).items()}
        for section in SECTIONS:
            usual = registry.first_defaults(section, SECTIONS[section])
            if option_fields(section):
                usual |= registry.usual_options(getattr(self, section).factories())
            difference |= {
                f'{section}.{name}': value
                for name, value in self.record[section].items()
                if name not in usual or usual[name] != value
            }
        return difference

    @classmethod
    def from_difference(cls, difference: Mapping[str, Any]) -> 'Experiment':
        """Creates an experiment from its `difference`.

        Raises:
            ExperimentError: see `from_record`.
        """
        record: dict[str, Any] = {}
        for name, value in difference.items():
            *section, field = name.split('.')
            (record.setdefault(section[0], {}) if section else record)[field] = value
        return cls.from_record(record)

    @property
    def name(self) -> str:
        """TASK-MECHANISM-SIZE-dimD-DIGEST: the same for the same experiment, and for no other."""
        size = '-'.join(f'{name}{_short(value)}' for name, value in tasks.required_options(self.task).items())
        task = tasks.name_of(self.task)
        return f'{task}-{self.model.mechanism}-{size}-dim{self.model.dim}-{digest(self.difference)}'

    def replicates(self) -> list['Experiment']:
        """The experiments that are trained side by side, one per seed; without replicates, the experiment."""
        count = self.train.num_replicates
        if count == 1:
            return [self]
        train = dataclasses.replace(self.train, num_replicates=1)
        return [
            dataclasses.replace(self, seed=seed, train=train) for seed in range(self.seed, self.seed + count)
        ]

    def open_data(self) -> Sources:
        """Opens the training and test examples.

        Raises:
            DataError: the examples are missing, invalid or too few.
            OSError: the examples cannot be read.
        """
        opened = sources.open_sources(self.data, self.task, self.seed)
        most, asked = opened.test.num_examples, self.run.num_eval_examples
        problems = [
            f'{name} must be at most {most:,}, the number of test examples; got {count:,}'
            for name, count in (
                ('num_eval_examples', asked), ('num_progress_examples', self.run.num_progress_examples)
            )
            if most is not None and count > most
        ]  # fmt: skip
        if problems:
            raise DataError('\n'.join(problems))
        distinct = evaluation.distinct_prompts(opened.test.read(np.arange(asked)))
        if distinct < asked / 2:
            logging.warning(
                'Only %s of the %s test problems are different; the task has few. Accuracy says little '
                'about problems that training has not seen.', f'{distinct:,}', f'{asked:,}'
            )  # fmt: skip
        return opened


def digest(difference: Mapping[str, Any]) -> str:
    """The ten hexadecimal digits at the end of the name of an experiment with this `difference`."""
    text = json.dumps({'schema': SCHEMA_VERSION, **difference}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _short(value: Any) -> str:
    """A value as a part of a directory's name."""
    return re.sub(r'[^\w.=+-]+', '_', str(value))[:40]
