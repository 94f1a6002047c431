"""How all programs begin, and their flags; all invalid ones are reported together."""

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from experiments import configs

CONFIG = config_flags.DEFINE_config_file(
    'config',
    help_string='A config file, with a preset and overrides after a colon: '
    'experiments/arith.py:paper,n=10,dim=64,mechanism=linear.',
)


class _Loader(flags.ArgumentParser):
    """Loads the config file with `configs.load`, so that no file is executed twice."""

    def parse(self, path: str) -> ConfigDict:
        config = configs.load(path)
        config.lock()
        return config


flags.FLAGS['config'].parser = _Loader()


class _PathParser(flags.ArgumentParser):
    """A path on this machine, with `~` expanded."""

    def parse(self, text: str) -> str:
        return local_path(text)


def local_path(text: str) -> str:
    """A path with `~` expanded.

    Raises:
        ValueError: it is a URL, of which a local directory would be made.
    """
    if re.match(r'\w[\w.+-]*://', text):
        raise ValueError(f'{text} is a URL; expected a path on this machine')
    return os.path.expanduser(text)


def define_path(name: str, description: str) -> flags.FlagHolder[str | None]:
    """Defines the flag of a file or a directory; None by default."""
    return flags.DEFINE(_PathParser(), name, None, description)


def define_paths(name: str, description: str) -> flags.FlagHolder[list[str]]:
    """Defines the flag of several paths, separated by commas."""
    return flags.DEFINE(_PathsParser(), name, [], description, serializer=flags.CsvListSerializer(','))


class _PathsParser(flags.ListParser):
    def parse(self, text: str | list[str]) -> list[str]:
        return list(map(local_path, super().parse(text)))


Check = Callable[[ConfigDict, Mapping[str, str]], list[str]]
"""Returns further problems, given the configuration and the values of flags by name."""


def parse_flags(argv: list[str], check: Check) -> list[str]:
    """Parses flags for `absl.app.run`; if some are invalid, prints all problems and exits.

    Args:
        argv: the command line.
        check: finds what else the program would refuse, to be reported in the same message.
    """
    problems = _config_problems(argv, check)
    if not problems:
        try:
            return flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            problems = [str(error)]
    sys.exit(refuse(problems))


def start(main: Callable, check: Check = lambda config, values: [], verbosity: int = logging.WARNING) -> None:
    """Runs a program's `main`, and exits with what it returns.

    Args:
        main: receives the words of the command line that are not flags.
        check: see `parse_flags`.
        verbosity: of absl's log.
    """
    logging.set_verbosity(verbosity)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='replace')  # a terminal may lack a character that a file has
    app.run(main, flags_parser=functools.partial(parse_flags, check=check))


def problems_of(make: Callable[[ConfigDict], object]) -> Check:
    """A check that reports the problems for which `make` refuses a configuration."""

    def check(config: ConfigDict, values: Mapping[str, str]) -> list[str]:
        try:
            make(config)
        except configs.ConfigError as error:
            return error.problems
        return []

    return check


def refuse(problems: list[str]) -> int:
    """Prints problems; returns the exit status of a refused command line."""
    print(f'Nothing was run:\n{configs.ConfigError(problems)}', file=sys.stderr)
    return 2


def missing_config(example: str = 'experiments/arith.py') -> list[str]:
    """The problem that --config is missing, if it is."""
    return [] if CONFIG.value is not None else [f'--config=FILE is missing, such as --config={example}']


def directory_problems(flag: str, directory: str | Path | None) -> list[str]:
    """The reasons why a directory cannot be written, if any; the check itself writes nothing."""
    if directory is None:
        return []
    directory = Path(directory)
    nearest = next(path for path in [directory, *directory.absolute().parents] if os.path.exists(path))
    if not os.path.isdir(nearest):
        return [f'{flag} {directory} cannot be made: {nearest} is not a directory']
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f'{flag} {directory} cannot be written: no permission to write in {nearest}']
    return []


def _config_problems(argv: list[str], check: Check) -> list[str]:
    """The problems with the config's string argument and with overrides of its fields.

    The valid parts of an invalid argument are applied, so that problems with other flags are reported too.
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
    problems = []
    try:
        config = configs.load(values['config'])
    except configs.ConfigError as error:
        if error.config is None:
            return error.problems
        problems, config = error.problems, error.config
    problems += configs.apply(
        config,
        {name.removeprefix('config.'): value for name, value in values.items() if name.startswith('config.')},
    )
    return problems + check(config, values) if problems else []
