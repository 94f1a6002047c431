"""Trains and grades one experiment: python -m experiments.main --config=experiments/arith.py

Stopped or killed at any time, the same command resumes from the latest checkpoint.

    --config=FILE[:[PRESET][,FIELD=VALUE]...]    presets: laptop (default), quick, paper, smoke
    --config.SECTION.FIELD=VALUE    sets one field, such as --config.train.steps=2000
    --workdir=DIR    of the run; by default runs/ and a name made from the configuration
    --distributed    joins the other hosts of a SLURM, TPU pod or Open MPI job, or those named by hand with
                     --coordinator_address=HOST:PORT --num_processes=N --process_id=0...N-1
"""

import functools
import sys
from pathlib import Path

import jax
import yaml
from absl import flags

from effxf_jax.data.blocks import DataError
from effxf_jax.runs import hosts, run
from effxf_jax.runs.checkpoints import CheckpointError
from effxf_jax.runs.directory import InUseError, MismatchError
from effxf_jax.runs.memory import MemoryLimitError
from effxf_jax.runs.termination import Interrupted
from effxf_jax.training import DivergedError
from experiments import command_line, compilations, configs, console
from experiments.command_line import CONFIG, refuse

_WORKDIR = command_line.define_path(
    'workdir', "The run's directory; by default runs/NAME, with a name made from the configuration."
)
_DISTRIBUTED = flags.DEFINE_bool(
    'distributed',
    False,
    'Run on several hosts: the hosts of a SLURM, TPU pod or Open MPI job, which are detected, or those '
    'described by --coordinator_address, --num_processes and --process_id.',
)
_COORDINATOR = flags.DEFINE_string(
    'coordinator_address', None, 'With --distributed: HOST:PORT, the first host and a free port of it.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
    'num_processes', None, 'With --distributed: the number of hosts.', lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    'process_id', None, 'With --distributed: the index of this host, from 0.', lower_bound=0
)


def main(argv):
    return hosts.leave(_run(argv))


def _run(argv) -> int:
    """Runs the experiment; returns the exit status."""
    if len(argv) > 1:
        return refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    if problems := command_line.missing_config():
        return refuse(problems)
    try:
        _join()
    except hosts.JoinError as error:
        return refuse([str(error)])
    is_first = jax.process_index() == 0
    if jax.process_count() == 1:
        # With several hosts, JAX keeps only what the first one compiles, and on GPUs hosts compile together.
        # If one host finds a program in the cache and another does not, they wait for each other forever.
        compilations.keep()
    config = CONFIG.value
    problems = command_line.directory_problems('workdir', _WORKDIR.value or 'runs') if is_first else []
    try:
        experiment = configs.make_experiment(config, jax.device_count())
    except configs.ConfigError as error:
        problems = error.problems + problems
    if problems:
        return refuse(problems)
    workdir = Path(_WORKDIR.value or Path('runs') / experiment.name)

    devices = f'devices: {jax.device_count()} x {jax.devices()[0].device_kind}'
    if is_first:
        record = yaml.safe_dump(experiment.record, sort_keys=False)
        print(f'{record}workdir: {workdir}\n{devices}', flush=True)
    else:
        print(f'host {jax.process_index()}, {devices}; host 0 shows the progress', flush=True)
    listener = console.TerminalListener(experiment.train.steps, experiment.train.num_replicates)
    try:
        run.run(experiment, workdir, listener)
    except (MismatchError, InUseError, DataError, MemoryLimitError) as error:
        return refuse([str(error)])
    except CheckpointError as error:
        listener.close()
        print(f'Stopped: {error}.', file=sys.stderr)
        # Orbax's threads of a failed save may wait for each other for ten minutes.
        return hosts.leave(1, at_once=True)
    except OSError as error:
        listener.close()
        print(f'Stopped: {error}. Checkpoints are kept; the same command resumes.', file=sys.stderr)
        return 1
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


def _join() -> None:
    """Joins the other hosts, if there are any."""
    by_hand = {flag.name: flag.value for flag in (_COORDINATOR, _NUM_PROCESSES, _PROCESS_ID)}
    if _DISTRIBUTED.value:
        hosts.join(**by_hand)
    elif given := [f'--{name}' for name, value in by_hand.items() if value is not None]:
        raise hosts.JoinError(f'{", ".join(given)} without --distributed')


def _flag_problems(config, values) -> list[str]:
    """Checks the other flags and fields, after a part of the configuration was found invalid."""
    make = functools.partial(configs.make_experiment, devices=jax.device_count())
    problems = command_line.problems_of(make)(config, values)
    return problems + command_line.directory_problems('workdir', values.get('workdir'))


if __name__ == '__main__':
    command_line.start(main, _flag_problems)
