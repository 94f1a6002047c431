"""Functions for config files: presets, overrides in the string argument, and conversion to dataclasses.

A config file defines `get_config(arg)`, where arg is a preset and overrides, each with a field's bare or
dotted name: `paper,n=10,dim=64,model.mechanism=linear`.
"""

import ast
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from effxf_jax import registry, tasks
from effxf_jax.runs import record
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.record import (
    MAX_SEED,
    SECTIONS,
    ExperimentError,
    option_fields,
    section_fields,
    used_options,
)
from effxf_jax.tasks import Task
from experiments import config_modules, config_paths

DEFAULT_PRESET = 'laptop'


# The common part of presets, by dotted name; a config file adds its task's size and what this size requires.
LAPTOP = {
    'model.dropout': 0.0,
    'train.batch_size': 64,
    'train.optimizer': 'muon',
    'train.learning_rate': 1e-2,
    'train.warmup_steps': 300,
    'train.beta2': 0.98,
    'run.num_eval_examples': 4096,
    'run.num_progress_examples': 256,
    'run.eval_every': 1500,
    'run.eval_batch_size': 512,
    'run.checkpoint_every': 500,
    'run.checkpoints_kept': 3,
    'run.log_every': 50,
}
"""Minutes on two CPU cores."""

QUICK = {
    **LAPTOP,
    'run.num_eval_examples': 1024,
    'run.num_progress_examples': 128,
    'run.eval_every': 500,
}
"""A minute on two CPU cores, for a first look: smaller problems, fewer steps."""

PAPER = {
    'model.dim': 256,
    'model.dropout': 0.1,
    'data.num_train_examples': 1_000_000,
    'train.steps': 195_300,
    'train.batch_size': 512,
    'train.learning_rate': 1e-4,
    'train.schedule': 'linear',
    'train.warmup_steps': 9_765,
    'run.num_eval_examples': 100_000,
    'run.num_progress_examples': 1024,
    'run.eval_every': 10_000,
    'run.eval_batch_size': 512,
    'run.checkpoint_every': 5_000,
    'run.checkpoints_kept': 3,
    'run.log_every': 100,
}
"""The training of Feng et al. (2023), for accelerators: 10^6 examples, batches of 512, 100 epochs with 5 of
warm-up."""

SMOKE = {
    'model.dim': 16,
    'model.num_layers': 2,
    'model.num_heads': 2,
    'model.dropout': 0.1,
    'train.steps': 30,
    'train.batch_size': 16,
    'train.optimizer': 'muon',
    'train.learning_rate': 5e-3,
    'train.warmup_steps': 5,
    'run.num_eval_examples': 48,
    'run.num_progress_examples': 16,
    'run.eval_every': 10,
    'run.eval_batch_size': 16,
    'run.checkpoint_every': 10,
    'run.checkpoints_kept': 3,
    'run.log_every': 10,
}
"""Seconds; the model learns nothing."""


PRESET_OPTIONS = 'preset_options'
"""The section of a configuration with a preset's values for options of mechanisms and optimisers. They hold
where the option's own field is not set and the chosen mechanism or optimiser has the option."""


class SameAs(NamedTuple):
    """A preset's value: that of another field, by dotted name, as long as the field is not set itself."""

    field: str


class ConfigError(ValueError):
    """A configuration is invalid.

    Attributes:
        problems: one sentence for each problem.
        config: the configuration without the invalid parts, if there is one.
    """

    def __init__(self, problems: list[str], config: ConfigDict | None = None):
        self.problems = problems
        self.config = config
        super().__init__('\n'.join(f'  * {problem}' for problem in problems))


def build(arg: str | None, task: str, presets: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Builds the configuration that a string argument describes.

    Args:
        arg: a preset's name and overrides, separated by commas; both may be missing.
        task: the task's name.
        presets: for each preset, values by dotted name, which replace the dataclasses' defaults; SameAs
            follows another field, also where flags set it later. Options of an optimiser or a mechanism are
            used only if it is the chosen one.

    Raises:
        ConfigError: parts of arg are invalid; the message names all of them.
    """
    preset, overrides, problems = parse_arg(arg, presets)
    try:
        task = tasks.find(task)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    config = ConfigDict({'seed': 0, 'task': {'name': task, **_task_fields(task)}})
    preset_options = {section: {} for section in SECTIONS}
    for section in SECTIONS:
        config[section] = ConfigDict(_section_fields(section))
    for name, value in presets[preset].items():
        section, _, field = name.rpartition('.')
        if section in SECTIONS and field in option_fields(section):
            preset_options[section][field] = value
        elif isinstance(value, SameAs):
            of, _, name_of = value.field.rpartition('.')
            config[section][field] = config[of].get_oneway_ref(name_of)
        else:
            _assign(config, name, value)
    config[PRESET_OPTIONS] = ConfigDict(preset_options)
    problems += apply(config, overrides)
    if problems:
        raise ConfigError(problems, config)
    return config


def parse_arg(arg: str | None, presets: Mapping[str, Any]) -> tuple[str, dict[str, str], list[str]]:
    """Splits a string argument; returns the preset, the overrides and the problems with either."""
    words = [word for word in (arg or '').split(',') if word]
    preset = words.pop(0) if words and '=' not in words[0] else DEFAULT_PRESET
    problems = []
    if preset not in presets:
        problems.append(f'unknown preset {preset!r}; a preset is one of {", ".join(presets)}')
        preset = DEFAULT_PRESET
    overrides, stray = parse_overrides(','.join(words))
    problems += [
        f'{word!r} is neither a preset, which comes first, nor of the form field=value' for word in stray
    ]
    return preset, overrides, problems


def parse_overrides(text: str) -> tuple[dict[str, str], list[str]]:
    """Splits `field=value,field=value` into values by field, as text, and the words of another form."""
    words = [word for word in text.split(',') if word]
    stray = [word for word in words if '=' not in word]
    return dict(word.split('=', 1) for word in words if '=' in word), stray


def load(reference: str) -> ConfigDict:
    """The configuration that a config file makes of its argument: `experiments/arith.py:paper,n=10`.

    Raises:
        ConfigError: the file is not a config file, or parts of the argument are invalid; the message names
            all of them.
    """
    try:
        path, _, arg = config_paths.resolve(reference).partition(':')
    except FileNotFoundError as error:
        raise ConfigError([str(error)]) from error
    if not path.endswith('.py'):
        raise ConfigError([f'{path} is not a config file: its name does not end in .py'])
    with config_modules.beside(Path(path)):
        try:
            module = config_modules.load(Path(path))
        except Exception as error:  # a file that is not a config file may raise anything
            first_line = str(error).strip().partition('\n')[0]
            problem = f'{path} is not a config file: {type(error).__name__}: {first_line}'
            raise ConfigError([problem]) from error
        if not hasattr(module, 'get_config'):
            raise ConfigError([f'{path} is not a config file: it defines no get_config'])
        config = _call_get_config(module.get_config, path, arg or None)
    if not isinstance(config, ConfigDict):
        found = type(config).__name__
        raise ConfigError([f'{path} is not a config file: get_config must return a ConfigDict; got {found}'])
    return config


def _call_get_config(get_config: Callable, path: str, arg: str | None) -> Any:
    """What a config file makes of its argument; an error in the file is a ConfigError with its line."""
    try:
        inspect.signature(get_config).bind(arg)
    except TypeError as error:
        raise ConfigError(
            [f'{path} is not a config file: get_config must take one argument, the text after the colon']
        ) from error
    try:
        return get_config(arg)
    except ConfigError:
        raise
    except Exception as error:  # a file may raise anything
        here = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = f' in line {here[-1].lineno}' if here else ''
        problem = f'get_config({arg!r}) of {path} raises {type(error).__name__}{line}: {error}'
        raise ConfigError([problem]) from error


def apply(config: ConfigDict, overrides: Mapping[str, str]) -> list[str]:
    """Sets fields, by bare or dotted name, to values given as text; returns the problems."""
    problems = []
    for name, text in overrides.items():
        try:
            _assign(config, _find(config, name), _parse(text))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(error.args[0])
    return problems


def _check_is_of_run(config: ConfigDict) -> None:
    if 'task' not in config:
        problem = 'this is not the configuration of a run; a sweep is run by python -m experiments.sweep'
        raise ConfigError([problem], config)


def make_task(config: ConfigDict) -> Task:
    """Creates the task of a configuration.

    Raises:
        ConfigError: values are out of range; the message names all of them.
    """
    _check_is_of_run(config)
    in_range = config.seed is not None and 0 <= config.seed <= MAX_SEED
    problems = [] if in_range else [f'seed must be from 0 to 2^31 - 1; got {config.seed}']
    try:
        task = record.make_task(config.task.to_dict())
    except ValueError as error:
        problems += [f'task: {problem}' for problem in str(error).splitlines()]
    if problems:
        raise ConfigError(problems, config)
    return task


def make_experiment(config: ConfigDict, devices: int = 1) -> Experiment:
    """Creates the experiment of a configuration.

    Args:
        config: a configuration made by `build`, with any overrides.
        devices: number of devices over all hosts; batch_size must be divisible by it.

    Raises:
        ConfigError: values are out of range; the message names all of them.
    """
    _check_is_of_run(config)
    problems = []
    try:
        made = Experiment.from_values(_values(config))
    except ExperimentError as error:
        problems += error.problems
    batch_size = config.train.batch_size
    if batch_size and batch_size % devices:
        problems.append(f'train: batch_size must be divisible by the {devices} devices; got {batch_size}')
    if problems:
        raise ConfigError(problems, config)
    return made


def _values(config: ConfigDict) -> dict[str, Any]:
    """A configuration as the values of an experiment; options that are not set have the preset's values."""
    values = config.to_dict()
    preset = values.pop(PRESET_OPTIONS, {})
    for section in SECTIONS:
        options = option_fields(section)
        given = {n: v for n, v in values[section].items() if n not in options or v is not None}
        used = used_options(section, given)
        values[section] = {n: v for n, v in preset.get(section, {}).items() if n in used} | given
    return values


def fields(config: ConfigDict) -> Iterator[str]:
    """Yields the dotted names of all fields."""
    for name, value in config.items():
        if name == PRESET_OPTIONS:
            continue
        if isinstance(value, ConfigDict):
            yield from (f'{name}.{inner}' for inner in fields(value))
        else:
            yield name


def unknown_field(config: ConfigDict, name: str) -> str:
    """The message for a field that does not exist."""
    known = list(fields(config))
    hint = registry.suggestion(name, [*known, *(_bare(field) for field in known)], known)
    return f'unknown field {name!r}; {hint}'


def _bare(name: str) -> str:
    return name.rpartition('.')[2]


def _task_fields(name: str) -> dict[str, Any]:
    """The fields of a task's section: its options with their defaults."""
    return {option.name: _field(option) for option in registry.options(tasks.TASKS[name]).values()}


def _section_fields(section: str) -> dict[str, Any]:
    """The fields of a section with their defaults.

    Fields without a default are typed placeholders, which presets fill. So are options of mechanisms and
    optimisers: None stands for the default that the chosen one declares.
    """
    of_dataclass = registry.options(SECTIONS[section])
    plain = {field.name: _field(of_dataclass[field.name]) for field in section_fields(section)}
    of_options = option_fields(section).values()
    return plain | {option.name: config_dict.placeholder(option.type) for option in of_options}


def _field(option: registry.Option) -> Any:
    has_none = option.default is None or option.default is registry.REQUIRED
    return config_dict.placeholder(option.type) if has_none else option.default


def _find(config: ConfigDict, name: str) -> str:
    """The dotted name of the field with this bare or dotted name."""
    matches = [field for field in fields(config) if name in (field, _bare(field))]
    if not matches:
        raise KeyError(unknown_field(config, name))
    if len(matches) > 1:
        raise KeyError(f'{name!r} could be {" or ".join(matches)}; write the dotted name')
    return matches[0]


def _assign(config: ConfigDict, name: str, value: Any) -> None:
    try:
        config.update_from_flattened_dict({name: value})
    except (TypeError, ValueError) as error:
        section = config[name.partition('.')[0]] if '.' in name else config
        wanted = section.get_type(_bare(name)).__name__
        raise TypeError(f'{name} must be of type {wanted}; got {value!r}') from error


def _parse(text: str) -> Any:
    """The Python literal that a text is, or else the text itself."""
    try:
        return ast.literal_eval(text.capitalize() if text.lower() in ('true', 'false', 'none') else text)
    except (ValueError, SyntaxError):
        return text
