"""Trains and grades one experiment: python -m experiments.main --config=experiments/arith.py"""

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

# TensorFlow, which only feeds data, has nothing to say that a user needs.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from effxf_jax import runs
from effxf_jax.run_directory import MismatchError
from effxf_jax.termination import Interrupted
from effxf_jax.training import DivergedError
from experiments import configs, console

_CONFIG = config_flags.DEFINE_config_file(
    'config',
    help_string='A config file, with a preset and overrides after a colon: '
    'experiments/arith.py:paper,n=10,dim=64,mechanism=linear.',
)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, "The run's directory; by default runs/ and a name made from the configuration."
)
_DISTRIBUTED = flags.DEFINE_bool(
    'distributed', False, 'Join the other hosts of a SLURM, TPU pod or Open MPI job first.'
)


def main(argv):
    if len(argv) > 1:
        return _refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    if _CONFIG.value is None:
        return _refuse(['--config=FILE is missing, such as --config=experiments/arith.py'])
    if _DISTRIBUTED.value:
        jax.distributed.initialize()
    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or default_workdir(config))
    problems = workdir_problems(workdir)
    try:
        experiment = configs.make_experiment(config, jax.device_count())
    except configs.ConfigError as error:
        problems = error.problems + problems
    if problems:
        return _refuse(problems)

    print(
        f'{config}\nworkdir: {workdir}\ndevices: {jax.device_count()} x {jax.devices()[0].device_kind}',
        flush=True,
    )
    listener = console.TerminalListener(experiment.train.steps)
    try:
        runs.run(experiment, workdir, listener)
    except (MismatchError, OSError) as error:
        return _refuse([str(error)])
    except DivergedError as error:
        listener.close()
        print(f'Training diverged: {error}', file=sys.stderr)
        return 1
    except Interrupted as error:
        listener.close()
        print(f'{error}. To resume, run the same command again.', file=sys.stderr)
        return 128 + error.signal_number
    finally:
        listener.close()
    return 0


def default_workdir(config) -> Path:
    """runs/TASK-MECHANISM-DIGEST: the same for the same configuration, so that the same command resumes."""
    text = json.dumps(config.to_dict(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return Path('runs') / f'{config.task.name}-{config.model.mechanism}-{digest}'


def workdir_problems(workdir: Path) -> list[str]:
    """Why nothing can be written there, if so; nothing is written to find out."""
    nearest = next(path for path in [workdir, *workdir.absolute().parents] if path.exists())
    if not nearest.is_dir():
        return [f'workdir {workdir} cannot be made: {nearest} is not a directory']
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f'workdir {workdir} cannot be written: no permission to write in {nearest}']
    return []


def _parse_flags(argv):
    """Parses flags; refuses, in one message, all parts of them that mean nothing."""
    problems = flag_problems(argv)
    if not problems:
        try:
            return flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            problems = [str(error)]
    sys.exit(_refuse(problems))


def flag_problems(argv) -> list[str]:
    """What is wrong with the config's string argument and with overrides of its fields."""
    words = [word.lstrip('-') for word in argv[1:] if word.startswith('-')]
    paths = [word.removeprefix('config=') for word in words if word.startswith('config=')]
    overrides = [
        word.partition('=')[0].removeprefix('config.') for word in words if word.startswith('config.')
    ]
    if not paths:
        return []
    path, _, arg = paths[-1].partition(':')
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
    known = set(configs.fields(config))
    unknown = [configs.unknown_field(config, name) for name in overrides if name not in known]
    if (problems or unknown) and config is not None:
        try:
            configs.make_experiment(config)
        except configs.ConfigError as error:
            return problems + unknown + error.problems
    return problems + unknown


def _refuse(problems: list[str]) -> int:
    print(f'Nothing was run:\n{configs.ConfigError(problems)}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    logging.set_verbosity(logging.WARNING)
    app.run(main, flags_parser=_parse_flags)
