"""What every config file shares: presets, overrides in the string argument, and the way to dataclasses.

A config file defines `get_config(arg)`, where arg is a preset and overrides, each by its field's bare or
dotted name: `paper,n=10,dim=64,model.mechanism=linear`.
"""

import ast
import dataclasses
import difflib
import hashlib
import importlib.util
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, config_dict

from effxf_jax import tasks
from effxf_jax.data.sources import DataConfig
from effxf_jax.model import ModelConfig
from effxf_jax.runs.experiment import Experiment, RunConfig
from effxf_jax.tasks import Task
from effxf_jax.training import TrainConfig

DEFAULT_PRESET = 'laptop'

SECTIONS = {'model': ModelConfig, 'data': DataConfig, 'train': TrainConfig, 'run': RunConfig}
"""The config's sections that become dataclasses of the library; `seed` and `task` stand beside them."""


# The presets' common part, by dotted name; a config file adds its task's size, and what that asks for.
LAPTOP = {
    'model.dropout': 0.0,
    'train.batch_size': 32,
    'train.learning_rate': 4e-3,
    'train.warmup_steps': 500,
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
"""The training of Feng et al. (2023): 10^6 examples, 100 epochs of batches of 512, 5 of them warm-up. It is
meant for accelerators."""

SMOKE = {
    'model.dim': 16,
    'model.num_layers': 2,
    'model.num_heads': 2,
    'model.dropout': 0.1,
    'train.steps': 30,
    'train.batch_size': 16,
    'train.learning_rate': 5e-3,
    'train.warmup_steps': 5,
    'run.num_eval_examples': 48,
    'run.num_progress_examples': 16,
    'run.eval_every': 10,
    'run.eval_batch_size': 32,
    'run.checkpoint_every': 10,
    'run.checkpoints_kept': 3,
    'run.log_every': 10,
}
"""Seconds; learns nothing."""


class ConfigError(ValueError):
    """Everything that is wrong with a configuration.

    Attributes:
        problems: a sentence each.
        config: what there is without the wrong parts.
    """

    def __init__(self, problems: list[str], config: ConfigDict | None = None):
        self.problems = problems
        self.config = config
        super().__init__('\n'.join(f'  * {problem}' for problem in problems))


def build(arg: str | None, task: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """The configuration that a string argument asks for.

    Args:
        arg: a preset's name and overrides, separated by commas; both may be missing.
        task: the task's name and all its options, with their defaults.
        presets: for each preset, values by dotted name, on top of the dataclasses' defaults.

    Raises:
        ConfigError: naming every part of arg that means nothing.
    """
    preset, overrides, problems = parse_arg(arg, presets)
    config = ConfigDict({'seed': 0, 'task': dict(task)})
    for section, dataclass in SECTIONS.items():
        config[section] = ConfigDict(dict(_defaults(dataclass)))
    for name, value in presets[preset].items():
        _assign(config, name, value)
    problems += apply(config, overrides)
    if problems:
        raise ConfigError(problems, config)
    return config


def parse_arg(arg: str | None, presets: Mapping[str, Any]) -> tuple[str, dict[str, str], list[str]]:
    """The preset that a string argument names, its overrides, and what is wrong with either."""
    words = [word for word in (arg or '').split(',') if word]
    preset = words.pop(0) if words and '=' not in words[0] else DEFAULT_PRESET
    problems = []
    if preset not in presets:
        problems.append(f'unknown preset {preset!r}; a preset is one of {", ".join(presets)}')
        preset = DEFAULT_PRESET
    overrides, stray = parse_overrides(','.join(words))
    problems += [
        f'{word!r} is neither first, where a preset stands, nor of the form field=value' for word in stray
    ]
    return preset, overrides, problems


def parse_overrides(text: str) -> tuple[dict[str, str], list[str]]:
    """Values by field of `field=value,field=value`, as text; and the words that are not of this form."""
    words = [word for word in text.split(',') if word]
    stray = [word for word in words if '=' not in word]
    return dict(word.split('=', 1) for word in words if '=' in word), stray


def load(reference: str) -> ConfigDict:
    """The configuration that a config file makes of its argument: `experiments/arith.py:paper,n=10`.

    Raises:
        ConfigError: the file is none, or naming every part of the argument that means nothing.
    """
    path, _, arg = reference.partition(':')
    if not Path(path).is_file():
        raise ConfigError([f'no config file {path!r}; there is, for example, experiments/arith.py'])
    spec = importlib.util.spec_from_file_location('config_file', path)
    if spec is None:
        raise ConfigError([f'{path} is no config file: its name does not end in .py'])
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a file that is no config file does when it is run
        first_line = str(error).strip().partition('\n')[0]
        raise ConfigError([f'{path} is no config file: {type(error).__name__}: {first_line}']) from error
    if not hasattr(module, 'get_config'):
        raise ConfigError([f'{path} is no config file: it defines no get_config'])
    return module.get_config(arg or None)


def run_name(config: ConfigDict) -> str:
    """TASK-MECHANISM-DIGEST: the same for the same configuration, and for no other."""
    text = json.dumps(config.to_dict(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f'{config.task.name}-{config.model.mechanism}-{digest}'


def apply(config: ConfigDict, overrides: Mapping[str, str]) -> list[str]:
    """Sets fields, by bare or dotted name, to values written as text; says which could not be."""
    problems = []
    for name, text in overrides.items():
        try:
            _assign(config, _find(config, name), _parse(text))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(error.args[0])
    return problems


def _check_is_of_run(config: ConfigDict) -> None:
    if 'task' not in config:
        problem = 'this is no configuration of a run; a sweep is run by python -m experiments.sweep'
        raise ConfigError([problem], config)


def make_task(config: ConfigDict) -> Task:
    """The task that a configuration stands for, and no more.

    Raises:
        ConfigError: naming every value that is out of range.
    """
    _check_is_of_run(config)
    in_range = config.seed is not None and 0 <= config.seed < 2**31
    problems = [] if in_range else [f'seed must be from 0 to 2^31 - 1; got {config.seed}']
    try:
        task = tasks.make(**config.task.to_dict())
    except (ValueError, TypeError) as error:
        problems += [f'task: {problem}' for problem in str(error).splitlines()]
    if problems:
        raise ConfigError(problems, config)
    return task


def make_experiment(config: ConfigDict, devices: int = 1) -> Experiment:
    """The frozen dataclasses that a configuration stands for.

    Args:
        config: as `build` makes it, with any overrides.
        devices: how many there are, over all hosts; a batch must be divisible by it.

    Raises:
        ConfigError: naming every value that is out of range.
    """
    _check_is_of_run(config)
    problems, parts = [], {}

    def attempt(section, make):
        try:
            parts[section] = make()
        except (ValueError, TypeError) as error:
            problems.extend(f'{section}: {problem}' for problem in str(error).splitlines())

    values = config.to_dict()
    try:
        parts['task'] = make_task(config)
    except ConfigError as error:
        problems += error.problems
    for section, dataclass in SECTIONS.items():
        sizes = {}
        if section == 'model':  # the task sets these; where it is wrong, any will do to check the others
            task = parts.get('task')
            sizes = {
                'vocab_size': task.vocabulary.size if task else 2,
                'max_length': task.max_length if task else 1,
            }
        unset = [f.name for f in dataclasses.fields(dataclass) if f.default is dataclasses.MISSING]
        unset = [name for name in unset if name not in sizes and values[section][name] is None]
        problems += [f'{section}: {name} must be given' for name in unset]
        if not unset:
            attempt(section, lambda c=dataclass, s=section, sizes=sizes: c(**sizes, **values[s]))
    batch_size = values['train']['batch_size']
    if batch_size and batch_size % devices:
        problems.append(f'train: batch_size must be divisible by the {devices} devices; got {batch_size}')
    last_seed = (config.seed or 0) + (values['train']['num_replicates'] or 1) - 1
    if (config.seed or 0) < 2**31 <= last_seed:
        problems.append(f'seed must be at most 2^31 - num_replicates; the last one would be {last_seed}')
    if problems:
        raise ConfigError(problems, config)
    return Experiment(seed=config.seed, record=values, **parts)


def fields(config: ConfigDict) -> Iterator[str]:
    """The dotted names of all fields."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from (f'{name}.{inner}' for inner in fields(value))
        else:
            yield name


def unknown_field(config: ConfigDict, name: str) -> str:
    """What to say of a field that there is none of."""
    known = list(fields(config))
    near = difflib.get_close_matches(name, [*known, *(_bare(field) for field in known)], n=1)
    hint = f'did you mean {near[0]}?' if near else f'there are {", ".join(known)}'
    return f'unknown field {name!r}; {hint}'


def _bare(name: str) -> str:
    return name.rpartition('.')[2]


def _defaults(dataclass) -> Iterator[tuple[str, Any]]:
    """The fields of a section; those without a default are typed placeholders, for presets to fill."""
    for field in dataclasses.fields(dataclass):
        if field.name in ('vocab_size', 'max_length'):
            continue
        if field.default is dataclasses.MISSING:
            yield field.name, config_dict.placeholder(field.type)
        elif field.default is None:
            yield field.name, config_dict.placeholder(typing.get_args(field.type)[0])
        else:
            yield field.name, field.default


def _find(config: ConfigDict, name: str) -> str:
    """The dotted name of a field given by its bare or dotted name."""
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
    """A value as Python writes it, or else the text itself."""
    try:
        return ast.literal_eval(text.capitalize() if text.lower() in ('true', 'false', 'none') else text)
    except (ValueError, SyntaxError):
        return text
