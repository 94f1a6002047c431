"""What every config file shares: presets, overrides in the string argument, and the way to dataclasses.

A config file defines `get_config(arg)`, where arg is a preset and overrides, each by its field's bare or
dotted name: `paper,n=10,dim=64,model.mechanism=linear`.
"""

import ast
import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from effxf_jax import tasks
from effxf_jax.datasets import DataConfig
from effxf_jax.model import ModelConfig
from effxf_jax.runs import Experiment, RunConfig
from effxf_jax.training import TrainConfig

DEFAULT_PRESET = 'laptop'

SECTIONS = {'model': ModelConfig, 'data': DataConfig, 'train': TrainConfig, 'run': RunConfig}
"""The config's sections that become dataclasses of the library; `seed` and `task` stand beside them."""


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
    words = [word for word in (arg or '').split(',') if word]
    preset = words.pop(0) if words and '=' not in words[0] else DEFAULT_PRESET
    problems = []
    if preset not in presets:
        problems.append(f'unknown preset {preset!r}; a preset is one of {", ".join(presets)}')
        preset = DEFAULT_PRESET

    config = ConfigDict({'seed': 0, 'task': dict(task)})
    for section, dataclass in SECTIONS.items():
        config[section] = ConfigDict(dict(_defaults(dataclass)))
    for name, value in presets[preset].items():
        _assign(config, name, value)
    for word in words:
        name, equals, text = word.partition('=')
        if not equals:
            problems.append(f'{word!r} is neither first, where a preset stands, nor of the form field=value')
            continue
        try:
            _assign(config, _find(config, name), _parse(text))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(error.args[0])
    if problems:
        raise ConfigError(problems, config)
    return config


def make_experiment(config: ConfigDict, devices: int = 1) -> Experiment:
    """The frozen dataclasses that a configuration stands for.

    Args:
        config: as `build` makes it, with any overrides.
        devices: how many there are, over all hosts; a batch must be divisible by it.

    Raises:
        ConfigError: naming every value that is out of range.
    """
    problems, parts = [], {}

    def attempt(section, make):
        try:
            parts[section] = make()
        except (ValueError, TypeError) as error:
            problems.extend(f'{section}: {problem}' for problem in str(error).splitlines())

    values = config.to_dict()
    attempt('task', lambda: tasks.make(**values['task']))
    for section, dataclass in SECTIONS.items():
        sizes = {}
        if section == 'model':  # the task sets these; where it is wrong, any will do to check the others
            task = parts.get('task')
            sizes = {
                'vocab_size': task.vocabulary.size if task else 2,
                'max_length': task.max_length if task else 1,
            }
        attempt(section, lambda c=dataclass, s=section, sizes=sizes: c(**sizes, **values[s]))
    batch_size = values['train']['batch_size']
    if batch_size % devices:
        problems.append(f'train: batch_size must be divisible by the {devices} devices; got {batch_size}')
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
            yield field.name, config_dict.placeholder(int)
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
