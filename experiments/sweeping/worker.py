"""A worker: runs one cell in a process that Ray has started, and reports its progress."""

import os
import platform
import re
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from effxf_jax.runs.directory import InUseError
from effxf_jax.runs.termination import Interrupted

_REPORT_SECONDS = 1.0
# A worker on a lost node may live on for a while and hold the lock of its run's directory.
_IN_USE_SECONDS = 120.0


class Event(NamedTuple):
    """A worker's report on its cell.

    Attributes:
        name: the cell's name.
        step: steps made so far, including those of earlier workers; None if the worker does not know yet.
        accuracy: mean over seeds, by metric; None if nothing was graded.
    """

    name: str
    step: int | None
    accuracy: dict[str, float] | None = None


def variables(cpus: int, gpus: float) -> dict[str, str]:
    """Environment variables that limit a worker to the resources of its cell."""
    if gpus:
        # JAX takes this share of the memory at once. CUDA takes half a GiB and more of the rest per process.
        return {'XLA_PYTHON_CLIENT_MEM_FRACTION': f'{0.75 * gpus:.3f}'} if gpus < 1 else {}
    others = re.sub(r'--xla_force_host_platform_device_count=\d+', '', os.environ.get('XLA_FLAGS', ''))
    return {
        'JAX_PLATFORMS': 'cpu',
        'NPROC': str(cpus),  # threads of XLA's pool
        'XLA_FLAGS': f'{others} --xla_force_host_platform_device_count={cpus}'.strip(),
    }


STOPPED = {'error': 'stopped'}
"""What `run_cell` returns after it was asked to stop and has saved its state."""


def run_cell(
    config_file: str, record: Mapping[str, Any], workdir: str, events, gpus: float
) -> dict[str, Any] | None:
    """Runs a cell in a worker, whose process imports and starts JAX here.

    Args:
        config_file: the reference of the config file, loaded for the mechanisms, tasks and optimisers that it
            adds to the library.
        record: the run's record; see `effxf_jax.runs.experiment`.
        workdir: the run's directory.
        events: the actor that receives Events.
        gpus: GPUs that the cell is given.

    Returns:
        None if the cell is done; otherwise the reason why not, under 'error'.
    """
    import jax

    from effxf_jax.runs import run
    from effxf_jax.runs.experiment import Experiment
    from effxf_jax.training import DivergedError
    from experiments import compilations, configs

    reporter = _Reporter(Path(workdir).name, events)
    reporter.tell(None)
    if gpus and jax.default_backend() == 'cpu':  # JAX itself would run on the CPU, with a warning at most
        which = os.environ.get('CUDA_VISIBLE_DEVICES')
        return {
            'error': f'the cell was given GPU {which} of {platform.node()}, where JAX finds none; is JAX '
            'for GPUs installed there?'
        }
    compilations.keep()
    begun = time.monotonic()
    while True:
        try:
            configs.load(config_file)
            experiment = Experiment.from_record(record)
            run.run(experiment, workdir, reporter)
        except InUseError as error:
            if time.monotonic() - begun > _IN_USE_SECONDS:
                return {'error': first_line(error), 'traceback': traceback.format_exc()}
            time.sleep(1.0)
        except Interrupted:
            return STOPPED
        except DivergedError as error:
            reason = f'diverged: {error}'
            return {'error': reason, 'diverged': True, 'traceback': traceback.format_exc()}
        except Exception as error:
            return {
                'error': f'{type(error).__name__}: {first_line(error)}',
                'traceback': traceback.format_exc(),
            }
        else:
            return None


class _Reporter:
    """A `listener.Listener` that sends Events about a cell, one per second."""

    def __init__(self, name: str, events):
        self._name = name
        self._events = events
        self._told = 0.0

    def tell(self, step: int | None, accuracy: dict[str, float] | None = None) -> None:
        self._told = time.monotonic()
        self._events.put.remote(Event(self._name, step, accuracy))  # does not wait for an answer

    def started(self, num_params: int, step: int) -> None:
        self.tell(step)

    def stepped(self, step: int, metrics) -> None:
        if time.monotonic() - self._told > _REPORT_SECONDS:
            self.tell(step)

    def evaluated(self, step: int, measured) -> None:
        names = next(iter(measured.values()))._fields
        self.tell(step, {n: sum(getattr(m, n) for m in measured.values()) / len(measured) for n in names})

    def diverged(self, seed: int, reason: str) -> None: ...

    def finished(self, results, samples: str) -> None: ...


def first_line(error: BaseException) -> str:
    return str(error).strip().partition('\n')[0][:500]
