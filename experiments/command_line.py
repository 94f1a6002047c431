"""What every program shares: the config flag, and refusing all that is wrong with a command line at once."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import configs

CONFIG = config_flags.DEFINE_config_file(
    'config',
    help_string='A config file, with a preset and overrides after a colon: '
    'experiments/arith.py:paper,n=10,dim=64,mechanism=linear.',
)

Check = Callable[[ConfigDict, Mapping[str, str]], list[str]]
"""Says what else is wrong, given the configuration and the values of flags by name."""


def parse_flags(argv: list[str], check: Check) -> list[str]:
    """Parses flags, as `absl.app.run` asks for; where parts of them mean nothing, refuses and exits.

    Args:
        argv: the command line.
        check: what the program would refuse, to be named in the same message.
    """
    problems = _config_problems(argv, check)
    if not problems:
        try:
            return flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            problems = [str(error)]
    sys.exit(refuse(problems))


def problems_of(make: Callable[[ConfigDict], object]) -> Check:
    """A check that a configuration can be made into what a program needs of it."""

    def check(config: ConfigDict, values: Mapping[str, str]) -> list[str]:
        try:
            make(config)
        except configs.ConfigError as error:
            return error.problems
        return []

    return check


def refuse(problems: list[str]) -> int:
    """Prints problems, and returns the exit status for them."""
    print(f'Nothing was run:\n{configs.ConfigError(problems)}', file=sys.stderr)
    return 2


def missing_config() -> list[str]:
    """What to say where there is no --config."""
    return (
        []
        if CONFIG.value is not None
        else ['--config=FILE is missing, such as --config=experiments/arith.py']
    )


def _config_problems(argv: list[str], check: Check) -> list[str]:
    """What is wrong with the config's string argument and with overrides of its fields.

    An argument that means nothing does not hide what else is wrong: all of it is applied that can be.
    """
    words = [word.lstrip('-') if word.startswith('--') else None for word in argv[1:]]
    given = []
    for word, following in zip(words, [*argv[2:], ''], strict=False):
        if word is not None:
            name, equals, value = word.partition('=')
            given.append((name, value if equals else following))
    values = dict(given)
    if 'config' not in values:
        return []
    path, _, arg = values['config'].partition(':')
    if not Path(path).is_file():
        return [f'no config file {path!r}; there is, for example, experiments/arith.py']
    spec = importlib.util.spec_from_file_location('config_file', path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a file that is no config file does when it is run
        return [
            f'{path} is no config file: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}'
        ]
    if not hasattr(module, 'get_config'):
        return [f'{path} is no config file: it defines no get_config']
    problems = []
    try:
        config = module.get_config(arg or None)
    except configs.ConfigError as error:
        problems, config = error.problems, error.config
    problems += configs.apply(
        config,
        {name.removeprefix('config.'): value for name, value in values.items() if name.startswith('config.')},
    )
    return problems + check(config, values) if problems else []
