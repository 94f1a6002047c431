"""Runs a sweep's cells on Ray, each in a worker process, until all are done or have failed.

Only the cells' directories record progress: a cell with a result.json is done, a cell with a failure.json has
failed, and any other cell is run, from its latest checkpoint if it has one. All nodes must see the sweep's
directory.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ray
from absl import logging
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from effxf_jax.runs.directory import MismatchError, RunDirectory
from effxf_jax.runs.termination import Interrupted, Termination
from experiments.sweeping import reuse, worker
from experiments.sweeping.cells import Cell, Sweep
from experiments.sweeping.states import State, read_state, wanted
from experiments.sweeping.worker import Event

_POLL_SECONDS = 0.5
# A process that is used again need not import anything, but it keeps memory: some hundred megabytes per cell,
# or all of an accelerator's memory.
_CELLS_PER_WORKER = 8
# A worker that is asked to stop does so after its current step, evaluation or compilation.
_STOP_SECONDS = 60.0
_CONNECT_SECONDS = 5.0


class ResourceError(RuntimeError):
    """No machine has the resources that a cell requires."""


class Watcher(Protocol):
    """Receives the progress of a sweep."""

    def copied(self, names: Sequence[str]) -> None:
        """These cells are now copies of settled runs."""

    def found(self, cell: Cell, state: State) -> None:
        """A cell has this state at the start."""

    def submitted(self, cell: Cell) -> None:
        """A cell waits for a worker."""

    def progressed(self, cell: Cell, event: Event) -> None:
        """A cell is running, and its worker has sent an event."""

    def ended(self, cell: Cell, state: State) -> None:
        """A cell is done, or has failed."""

    def refresh(self) -> None:
        """Called a few times a second."""


def run(
    sweep: Sweep,
    directory: Path,
    watcher: Watcher,
    address: str | None = None,
    retry_failed: bool = False,
    sources: Sequence[Path] = (),
) -> dict[str, State]:
    """Runs the remaining cells of a sweep.

    Args:
        sweep: the sweep to run.
        directory: the directory that contains the cells' directories.
        watcher: receives the progress.
        address: address of a Ray cluster; by default Ray runs on this machine for the time of the call.
        retry_failed: whether to run failed cells again.
        sources: directories of other sweeps, or files of results, from which settled cells are copied, as
            they are from cells under other names in `directory`; see `reuse`.

    Returns:
        The state of each cell, by name; cells that a search did not need are neither done nor failed.

    Raises:
        Interrupted: SIGTERM or SIGINT arrived; the workers have saved their states.
        InUseError: another process runs a sweep in the directory.
        MismatchError: the directory contains other runs or damaged files.
        RecordError: a source contains something else than runs, or damaged files.
        OSError: the directory cannot be written.
        ConnectionError: there is no cluster at the address.
        ResourceError: no machine has the resources that a cell requires, or Ray cannot start.
    """
    cells = {cell.name: cell for cell in sweep.cells()}
    states = {name: read_state(directory, cell) for name, cell in cells.items()}
    own = RunDirectory(directory)
    own.read_object('sweep.json')
    if address:
        check_address(address)
    directory.mkdir(parents=True, exist_ok=True)
    may_run = bool(sources) or retry_failed or bool(_left(sweep, states))
    workers = _ray(address, sweep.retries) if may_run else contextlib.nullcontext()
    # Termination comes last: Ray handles SIGTERM itself.
    with own.lock(), workers, Termination() as termination:
        if may_run:
            check_resources(sweep, warn_only=address is not None)
        termination.defer()
        copied = reuse.take(sweep, directory, sources, also_diverged=not retry_failed)
        states |= {name: read_state(directory, cells[name]) for name in copied}
        watcher.copied(list(copied))
        _declare(sweep, own, {run.top for runs in copied.values() for run in runs})
        if retry_failed:
            for name, state in states.items():
                if state.error is not None:
                    (directory / name / 'failure.json').unlink()
                    states[name] = state._replace(error=None, diverged=False)
        for name, cell in cells.items():
            watcher.found(cell, states[name])
        if _left(sweep, states):
            _Scheduling(sweep, directory, watcher, states).run(termination)
    return states


def _left(sweep: Sweep, states: Mapping[str, State]) -> dict[str, Cell]:
    """The cells that are wanted, and neither done nor failed, by name."""
    needed = {cell.name: cell for grid in sweep.grids for cell in wanted(grid, states)}
    return {
        name: cell for name, cell in needed.items() if not states[name].done and states[name].error is None
    }


def check_address(address: str) -> None:
    """Checks that something listens at HOST:PORT; Ray itself would try forever and ignore signals.

    Raises:
        ConnectionError: nothing listens there.
    """
    host, colon, port = address.rpartition(':')
    if not colon or not port.isdigit() or '://' in address:
        return  # Ray itself resolves or rejects other addresses at once
    try:
        if int(port) > 65_535:  # which the system may take for another port
            raise OverflowError('a port is at most 65535')
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f'there is no Ray cluster at {address}: {error}') from error


def check_resources(sweep: Sweep, warn_only: bool) -> None:
    """Checks that some node has the resources of a cell; with `warn_only`, for clusters that may grow, warns.

    Raises:
        ResourceError: no node has them.
    """
    nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
    if any(n.get('CPU', 0) >= sweep.cpus and n.get('GPU', 0) >= sweep.gpus for n in nodes):
        return
    found = ', '.join(f'{n.get("CPU", 0):g} CPUs and {n.get("GPU", 0):g} GPUs' for n in nodes)
    message = f'a cell requires {sweep.cpus} CPUs and {sweep.gpus:g} GPUs; the nodes have {found}'
    if not warn_only:
        raise ResourceError(f'{message}. Set cpus and gpus, or run on a cluster.')
    logging.warning('%s; cells wait until a node has enough', message)


def _declare(sweep: Sweep, directory: RunDirectory, copied: Collection[Path | None]) -> None:
    """Writes sweep.json and keeps the grids of earlier sweeps that are already in it.

    Args:
        sweep: the sweep to declare.
        directory: the sweep's directory.
        copied: the directories of cells that have been copied, and so are not missed in reports.
    """
    earlier, declared = directory.read_object('sweep.json') or {}, sweep.declaration()
    try:
        gone = [
            _directories(earlier[name]) - _directories(declared[name]) for name in earlier.keys() & declared
        ]
    except (KeyError, TypeError) as error:
        raise MismatchError(f'{directory.path / "sweep.json"} is damaged: {error!r}') from error
    lost = sorted(
        name
        for name in set().union(*gone)
        if (directory.path / name / 'result.json').exists() and directory.path / name not in copied
    )
    if lost:
        message = '%d finished cells no longer belong to these grids, so reports leave them out: %s'
        logging.warning(message, len(lost), ', '.join(lost))
    directory.write_text('sweep.json', json.dumps(earlier | declared, indent=1) + '\n')


def _directories(declared: dict[str, Any]) -> set[str]:
    """The names of a declared grid's cells."""
    return {cell['directory'] for cell in declared['cells']}


@contextlib.contextmanager
def _ray(address: str | None, retries: int) -> Iterator[None]:
    """Connects to Ray, and limits its retries of tasks killed for lack of memory, by default without end."""
    os.environ['RAY_task_oom_retries'] = str(retries)  # noqa: SIM112
    local = {} if address else {'num_cpus': _allowed_cpus(), 'include_dashboard': False}
    try:
        ray.init(address=address or 'local', log_to_driver=False, logging_level='error', **local)
    except ConnectionError:
        raise
    except OSError as error:  # such as a path too long for a socket, or a directory that cannot be written
        hint = 'Its files are in RAY_TMPDIR, or TMPDIR, or /tmp: set a short path that may be written.'
        raise ResourceError(f'Ray cannot start: {error}. {hint}') from error
    try:
        yield
    finally:
        ray.shutdown()


def _allowed_cpus() -> int | None:
    """How many of this machine's cores taskset or SLURM let this process use; None for all of them."""
    if not hasattr(os, 'sched_getaffinity'):
        return None
    allowed = len(os.sched_getaffinity(0))
    return allowed if allowed < os.cpu_count() else None  # Ray itself respects limits of containers


class _Events:
    """Events that workers have sent and the scheduler has not taken yet; an actor."""

    def __init__(self):
        self._events = []

    def put(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        taken, self._events = self._events, []
        return taken


class _Scheduling:
    """Submits cells to Ray and records how they end."""

    def __init__(self, sweep, directory, watcher, states):
        self._sweep = sweep
        self._directory = directory.absolute()
        self._watcher = watcher
        self._states = states
        self._submitted = {}  # cells by the reference of their Ray task
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._events = ray.remote(_Events).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(max_calls=1 if sweep.gpus else _CELLS_PER_WORKER)(worker.run_cell)
        self._options = {
            'num_cpus': sweep.cpus,
            'num_gpus': sweep.gpus,
            'max_retries': sweep.retries,
            'runtime_env': {'env_vars': worker.variables(sweep.cpus, sweep.gpus)},
        }

    def run(self, termination: Termination) -> None:
        """Runs until no cell is left or a signal arrives."""
        stopping = None
        self._submit()
        while self._submitted:
            ended, _ = ray.wait(list(self._submitted), timeout=_POLL_SECONDS)
            under_way = {cell.name: cell for cell in self._submitted.values()}
            for event in ray.get(self._events.take.remote()):
                if event.name in under_way:  # otherwise the event came late
                    self._watcher.progressed(under_way[event.name], event)
            for reference in ended:
                self._end(self._submitted.pop(reference), reference)
            signal_number = termination.asked(0)
            if signal_number and stopping is None:
                stopping = time.monotonic()
                for reference in self._submitted:
                    ray.cancel(reference)
            if stopping is not None and time.monotonic() - stopping > _STOP_SECONDS:
                break
            if stopping is None and ended:
                self._submit()
            self._watcher.refresh()
        if stopping is not None:
            raise Interrupted(signal_number)

    def _submit(self) -> None:
        """Submits wanted cells that have neither ended nor been submitted, the cheapest first."""
        under_way = {cell.name for cell in self._submitted.values()}
        left = _left(self._sweep, self._states).values()
        for cell in sorted(left, key=lambda cell: cell.train_flops):
            if cell.name in under_way:
                continue
            workdir = str(self._directory / cell.name)
            task = self._task.options(name=cell.name, **self._options)
            reference = task.remote(
                cell.config_file, cell.experiment.record, workdir, self._events, self._sweep.gpus
            )
            self._submitted[reference] = cell
            self._watcher.submitted(cell)

    def _end(self, cell: Cell, reference) -> None:
        """Records how a cell has ended."""
        try:
            failure = ray.get(reference)
        except ray.exceptions.TaskCancelledError:
            return
        except ray.exceptions.RayError as error:  # the worker died, and so did its retries
            failure = {'error': worker.first_line(error), 'traceback': str(error)}
        if failure == worker.STOPPED:
            return
        try:
            state = read_state(self._directory, cell)
        except MismatchError as error:  # the directory has changed meanwhile; it is left as it is
            state = State([], False, worker.first_line(error))
        else:
            if failure is not None:
                state = self._failed(cell, state, failure)
        self._states[cell.name] = state
        self._watcher.ended(cell, state)

    def _failed(self, cell: Cell, state: State, failure: dict[str, Any]) -> State:
        """Writes the reason for a cell's failure into its directory."""
        run = RunDirectory(self._directory / cell.name)
        with contextlib.suppress(OSError):  # on a full disk, the failure is reported but not kept
            run.path.mkdir(parents=True, exist_ok=True)
            run.write_text('failure.json', json.dumps(failure, indent=2) + '\n')
        return state._replace(error=failure['error'], diverged=failure.get('diverged', False))
