"""An experiment: everything that a run's outcome depends on, with its record and its name.

A record holds an experiment as nested plain values, as in `config.json`. Later versions read it: a missing
field takes its default. A record has no options of mechanisms and optimisers that the run does not use. A
run's name depends on fields that differ from their defaults, so a new field with a default renames no run.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from effxf_jax import attention, registry, tasks
from effxf_jax.data import sources
from effxf_jax.data.blocks import DataError
from effxf_jax.data.sources import DataConfig, Sources
from effxf_jax.model import ModelConfig
from effxf_jax.tasks import Task
from effxf_jax.training import OPTIMIZERS, TrainConfig

SCHEMA_VERSION = 1
"""The version of the defaults. A changed default must increase it; this renames all runs."""


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
        problems = [
            f'{field.name} must be at least 1; got {getattr(self, field.name)}'
            for field in dataclasses.fields(self)
            if getattr(self, field.name) < 1
        ]
        if problems:
            raise ValueError('\n'.join(problems))


SECTIONS = {'model': ModelConfig, 'data': DataConfig, 'train': TrainConfig, 'run': RunConfig}
"""The sections of a record that are dataclasses; a record also has `seed` and `task`."""

OF_THE_TASK = ('vocab_size', 'max_length')
"""Fields of ModelConfig that the task determines; a record does not have them."""

MAX_SEED = 2**31 - 1


class ExperimentError(ValueError):
    """A record is invalid.

    Attributes:
        problems: one sentence for each problem.
    """

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__('\n'.join(problems))


def option_fields(section: str) -> dict[str, registry.Option]:
    """The fields of a section that are options of a mechanism or an optimiser, by name."""
    if section == 'model':
        return attention.options()
    factories = OPTIMIZERS.values() if section == 'train' else ()
    return {name: option for factory in factories for name, option in registry.options(factory).items()}


def section_fields(section: str) -> list[dataclasses.Field]:
    """The fields of a section that are not options."""
    return [f for f in dataclasses.fields(SECTIONS[section]) if f.name not in (*OF_THE_TASK, 'options')]


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
        problems, parts = [], {}

        def attempt(section: str, make: Callable[[], Any]) -> None:
            try:
                parts[section] = make()
            except (TypeError, ValueError) as error:
                problems.extend(f'{section}: {problem}' for problem in str(error).splitlines())

        attempt('task', lambda: make_task(record.get('task', {})))
        for section, dataclass in SECTIONS.items():
            sizes = {}
            if section == 'model':  # if the task is invalid, any sizes serve to check the other values
                task = parts.get('task')
                sizes = {
                    'vocab_size': task.vocabulary.size if task else 2,
                    'max_length': task.max_length if task else 1,
                }
            try:
                values = _section_values(section, record.get(section, {}))
            except ExperimentError as error:
                problems += error.problems
            else:
                attempt(section, lambda c=dataclass, sizes=sizes, values=values: c(**sizes, **values))
        seed = record.get('seed', 0)
        problems += [f'unknown field {name!r}' for name in record if name not in ('seed', 'task', *SECTIONS)]
        if not isinstance(seed, int):
            problems.append(f'seed must be an integer; got {seed!r}')
        if not problems:
            return cls(seed, **parts)
        if isinstance(seed, int) and not 0 <= seed <= MAX_SEED:
            problems.append(f'seeds must be from 0 to 2^31 - 1; got {seed}')
        raise ExperimentError(problems)

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
            usual = {field.name: field.default for field in section_fields(section)}
            if section == 'model':
                usual |= attention.option_values(self.model.mechanism, {})
            elif section == 'train':
                usual |= registry.defaults(OPTIMIZERS[self.train.optimizer])
            values = self.record[section]
            difference |= {f'{section}.{name}': values[name] for name in usual if values[name] != usual[name]}
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
        size = '-'.join(f'{name}{value}' for name, value in tasks.required_options(self.task).items())
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
        if most is not None and asked > most:
            raise DataError(
                f'num_eval_examples must be at most {most:,}, the number of test examples; got {asked:,}'
            )
        return opened


def digest(difference: Mapping[str, Any]) -> str:
    """The ten hexadecimal digits at the end of the name of an experiment with this `difference`."""
    text = json.dumps({'schema': SCHEMA_VERSION, **difference}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def make_task(values: Mapping[str, Any]) -> Task:
    """Creates the task of a record's section, which holds its name and its options.

    Raises:
        ValueError: the name or options are invalid; the message names every problem.
    """
    given = {name: value for name, value in values.items() if name != 'name'}
    if values.get('name') is None:
        raise ValueError('name must be given')
    name = tasks.find(values['name'])
    known = registry.options(tasks.TASKS[name])
    missing = [
        n for n, option in known.items() if option.default is registry.REQUIRED and given.get(n) is None
    ]
    if missing:
        raise ValueError('\n'.join(f'{n} must be given' for n in missing))
    return tasks.make(name, **{n: value for n, value in given.items() if value is not None})


def _section_values(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a section's dataclass, including `options`."""
    fields, options = {f.name: f for f in section_fields(section)}, option_fields(section)
    unknown = [name for name in values if name not in fields and name not in options]
    problems = [
        f'{section}: unknown field {name!r}; {registry.suggestion(name, [*fields, *options])}'
        for name in unknown
    ]
    types = registry.options(SECTIONS[section])
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and values.get(name) is None:
            problems.append(f'{section}: {name} must be given')
        elif field.default is not None and name in values and values[name] is None:
            problems.append(f'{section}: {name} must be of type {types[name].type.__name__}; got None')
    if problems:
        raise ExperimentError(problems)
    arguments = {name: values[name] for name in fields if name in values}
    given = {name: values[name] for name in options if values.get(name) is not None}
    if given:
        used = used_options(section, arguments)
        # Early records held the options of all mechanisms; unused options had their defaults.
        arguments['options'] = {
            name: value for name, value in given.items() if name in used or value != options[name].default
        }
    return arguments


def used_options(section: str, values: Mapping[str, Any]) -> Collection[str]:
    """The options of a section's mechanism or optimiser; all options if the section's choice is unknown."""
    try:
        if section == 'model':
            return attention.option_values(values.get('mechanism', 'standard'), {}).keys()
        return registry.options(OPTIMIZERS[values.get('optimizer', 'adamw')]).keys()
    except (KeyError, ValueError):
        return option_fields(section).keys()


def flat(nested: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the values of nested mappings with their dotted names."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
