"""Records of experiments: nested plain values, and how they are read.

A record holds what `config.json` holds. Every later version reads it: a field that the record lacks takes its
first default, and options of mechanisms and optimisers that the experiment does not use are not part of it.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from effxf_jax import attention, registry, tasks
from effxf_jax.data.sources import DataConfig
from effxf_jax.model import ModelConfig
from effxf_jax.runs.config import RunConfig
from effxf_jax.tasks import Task
from effxf_jax.training import OPTIMIZERS, TrainConfig, optimizers

SECTIONS = {'model': ModelConfig, 'data': DataConfig, 'train': TrainConfig, 'run': RunConfig}
"""The sections of a record that are dataclasses; `seed` and `task` stand beside them."""

OF_THE_TASK = ('vocab_size', 'max_length')
"""Fields of ModelConfig that the task determines; records do not hold them."""

MAX_SEED = 2**31 - 1

# Records once held the options of all mechanisms, those that were not used with these values.
_EARLY_OPTIONS = {
    'block_size': None,
    'summary_size': 1,
    'pattern': 'fixed',
    'window': None,
    'feature_map': 'elu_plus_one',
    'chunk_size': 64,
}


class ExperimentError(ValueError):
    """A record is invalid.

    Attributes:
        problems: one sentence for each problem.
    """

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__('\n'.join(problems))


def section_fields(section: str) -> list[dataclasses.Field]:
    """The fields of a section, without the options of mechanisms and optimisers."""
    return [f for f in dataclasses.fields(SECTIONS[section]) if f.name not in (*OF_THE_TASK, 'options')]


def option_fields(section: str) -> dict[str, registry.Option]:
    """The options of all mechanisms (section 'model') or optimisers ('train'), by name.

    Raises:
        TypeError: an option has the name of a field of the section; see `registry.merged_options`.
    """
    table = {'model': attention.MECHANISMS, 'train': OPTIMIZERS}.get(section, {})
    reserved = [field.name for field in dataclasses.fields(SECTIONS[section])]
    return registry.merged_options(table, reserved)


def used_options(section: str, values: Mapping[str, Any]) -> Collection[str]:
    """The options of the mechanism or optimiser that a section names; all options if it is unknown."""
    factories = _factories(section, registry.first_defaults(section, SECTIONS[section]) | values)
    return registry.merged_options(factories) if factories is not None else option_fields(section)


def read(record: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Experiment` that a record holds: the seed and the parts.

    Raises:
        ExperimentError: fields are missing, unknown or invalid; the message names all of them.
    """
    problems = [f'unknown field {name!r}' for name in record if name not in ('seed', 'task', *SECTIONS)]
    seed = record.get('seed', 0)
    if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        problems.append(f'seeds must be from 0 to 2^31 - 1; got {seed!r}')
    parts: dict[str, Any] = {'seed': seed}

    def attempt(section: str, make: Callable[[Mapping[str, Any]], Any]) -> None:
        values = record.get(section, {})
        if not isinstance(values, Mapping):
            problems.append(f'{section} must hold fields and values; got {values!r}')
            return
        try:
            parts[section] = make(values)
        except ValueError as error:
            problems.extend(f'{section}: {problem}' for problem in str(error).splitlines())

    def make_section(section: str, values: Mapping[str, Any]) -> Any:
        sizes = {}
        if section == 'model':  # if the task is invalid, any sizes serve to check the other values
            task = parts.get('task')
            sizes = dict(
                zip(OF_THE_TASK, (task.vocabulary.size, task.max_length) if task else (2, 1), strict=True)
            )
        return SECTIONS[section](**sizes, **_arguments(section, values))

    attempt('task', make_task)
    for section in SECTIONS:
        attempt(section, lambda values, section=section: make_section(section, values))
    if problems:
        raise ExperimentError(problems)
    return parts


def make_task(values: Mapping[str, Any]) -> Task:
    """The task of a record's section, which holds its name and its options.

    Raises:
        ValueError: the name or options are invalid; the message names every problem.
    """
    given = {name: value for name, value in values.items() if name != 'name'}
    if values.get('name') is None:
        raise ValueError('name must be given')
    name = tasks.find(values['name'])
    known = registry.options(tasks.TASKS[name])
    first = registry.first_defaults(name, tasks.TASKS[name])
    problems = [
        f'{n} must be given'
        for n, o in known.items()
        if o.default is registry.REQUIRED and given.get(n) is None
    ]
    given = {n: value for n, value in given.items() if n not in known or value is not None}
    values, wrong = registry.cast_values(known, given)
    if problems := problems + wrong:
        raise ValueError('\n'.join(problems))
    return tasks.make(name, **first | given | values)


def drop_early_options(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record without the unused options that early records hold."""
    model = record.get('model')
    if not isinstance(model, Mapping):
        return record
    used = used_options('model', model)
    missing = object()
    kept = {n: v for n, v in model.items() if n in used or _EARLY_OPTIONS.get(n, missing) != v}
    return {**record, 'model': kept}


def _arguments(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a section's dataclass, including `options`.

    Raises:
        ValueError: naming every field that is unknown or missing.
    """
    fields, options = {f.name: f for f in section_fields(section)}, option_fields(section)
    problems = [
        f'unknown field {name!r}; {registry.suggestion(name, [*fields, *options])}'
        for name in values
        if name not in fields and name not in options
    ]
    problems += [
        f'{name} must be given'
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and values.get(name) is None
    ]
    if problems:
        raise ValueError('\n'.join(problems))
    first = registry.first_defaults(section, SECTIONS[section])
    arguments = {name: values.get(name, first.get(name)) for name in fields}
    if options:
        given = {name: values[name] for name in options if name in values}
        arguments['options'] = registry.usual_options(_factories(section, arguments) or {}) | given
    return arguments


def _factories(section: str, values: Mapping[str, Any]) -> Mapping[str, Callable] | None:
    """The factories, by name, that the options of a section belong to; None if it names an unknown one."""
    try:
        if section == 'model':
            return attention.factories(values['mechanism'])
        return optimizers.factories(values['optimizer']) if section == 'train' else {}
    except (AttributeError, TypeError, ValueError):
        return None


def flat(nested: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the values of nested mappings with their dotted names."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
