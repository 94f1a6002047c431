"""Several hosts at one run: how they meet, what the first one tells the others, and how they end.

A host is a process here, wherever it runs. None goes on without the others: what they were at is resumed from
the latest checkpoint, by as many as there then are.
"""

import collections
import contextlib
import ctypes
import itertools
import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax._src import distributed  # for a barrier that gives up; JAX makes none public
from jax.experimental import multihost_utils

T = TypeVar('T')

GONE = (
    'another host of the job is gone, or this one failed and has said why above. '
    'What is saved is kept; the same command on all hosts resumes.'
)

# A host that has been silent for so long is taken for dead.
HEARTBEAT_SECONDS = 30
# How long a host that leaves waits for the others to do so as well; after a signal, which all have agreed to
# follow, they may still be closing what they have open.
_LEAVE_SECONDS, _STOP_SECONDS = 5, 15
_LAST_SECONDS = 1.0
# A host that waits for another takes signals this often.
_POLL_SECONDS = 1.0

_UNKNOWN = (
    'No job of SLURM, Open MPI (before version 5) or a TPU pod is recognised here; outside of these, '
    'say who and where the hosts are.'
)

_exiting = threading.Lock()
_made = itertools.count()


class JoinError(RuntimeError):
    """The hosts cannot work together."""


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: int = 300,
) -> None:
    """Meets the other hosts of the job. Call it before anything of JAX.

    From then on the process ends, with a message and exit status 1, when another host is gone.

    Args:
        coordinator_address: HOST:PORT of the first host, as the others reach it. What is None here is taken
            from JAX_COORDINATOR_ADDRESS, then from SLURM, Open MPI before version 5, or the TPU.
        num_processes: how many hosts there are.
        process_id: which of them this is.
        timeout_seconds: how long to wait for them; then the process ends, likewise.

    Raises:
        JoinError: it is not known who the others are, or they have more or fewer devices each.
    """
    address = coordinator_address or os.environ.get('JAX_COORDINATOR_ADDRESS')
    if address is not None and not re.fullmatch(r'.+:\d+', address):
        raise JoinError(f'a coordinator is HOST:PORT; got {address!r}')
    explicit = None not in (address, num_processes, process_id)
    where = f' at {address}' if address else ''
    _when_aborted(
        1, f'Stopped: not all hosts met{where} within {timeout_seconds} s; is it reached from each of them?\n'
    )
    jax.config.update('jax_enable_preemption_service', False)  # it would keep SIGTERM to itself
    try:
        jax.distributed.initialize(
            address,
            num_processes,
            process_id,
            # By hand within an allocation of SLURM, a host has more than the one device SLURM gives a task.
            cluster_detection_method='deactivate' if explicit else None,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, TypeError, ValueError) as error:
        hint = '' if explicit else f' {_UNKNOWN}'
        raise JoinError(f'hosts cannot meet{where}: {error}{hint}') from error
    _when_aborted(1, f'Stopped: {GONE}\n')
    sys.excepthook = _leave_with
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        each = ', '.join(str(counts[host]) for host in sorted(counts))
        raise JoinError(f'every host must have the same number of devices; they have {each}')


def from_first(make: Callable[[], T]) -> T:
    """What the first host makes, on every host. It must be picklable, and may take its time."""
    if jax.process_count() == 1:
        return make()
    client, key = distributed.global_state.client, f'effxf_jax/made/{next(_made)}'
    # A collective gives up some day where one host comes late, so all are here before there is one.
    if jax.process_index() == 0:
        made = pickle.dumps(make())
        for host in range(1, jax.process_count()):
            _wait_for(client, f'{key}/{host}')
        client.key_value_set(f'{key}/0', '')
    else:
        made = b''
        client.key_value_set(f'{key}/{jax.process_index()}', '')
        _wait_for(client, f'{key}/0')
    data = np.zeros(int(multihost_utils.broadcast_one_to_all(np.int32(len(made)))), np.uint8)
    data[: len(made)] = np.frombuffer(made, np.uint8)
    data = multihost_utils.broadcast_one_to_all(data)
    if jax.process_index() == 0:
        client.key_value_delete(key)
    return pickle.loads(data.tobytes())


def _wait_for(client, key: str) -> None:
    """Until another host has set a key."""
    while True:
        try:
            client.blocking_key_value_get(key, round(_POLL_SECONDS * 1000))
            return
        except jax.errors.JaxRuntimeError as error:
            if 'DEADLINE_EXCEEDED' not in str(error):
                raise


def leave(status: int) -> int:
    """Ends the process if the run failed on it and there are other hosts; otherwise gives the status back.

    An ordinary exit would wait for the others, who may be waiting for this host in a collective. Those that
    come to an end by themselves get a moment for it.
    """
    client = distributed.global_state.client
    if client is not None and status != 0:
        sys.stdout.flush()
        _when_aborted(status, '')
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # not all are leaving
            client.wait_at_barrier('leave', 1000 * (_STOP_SECONDS if status > 128 else _LEAVE_SECONDS))
            if jax.process_index() == 0:  # whose end the others would take for a loss
                time.sleep(_LAST_SECONDS)
        _exit(status)
    return status


def _leave_with(kind, error, traceback) -> None:
    """`sys.excepthook` of a host among others."""
    # What a collective raises when another host is gone is of several classes, ValueError among them.
    if re.search('Gloo|NCCL|UNAVAILABLE', str(error)):
        reason = str(error).partition('\n')[0]
        _exit(1, f'Stopped: {GONE} ({reason})\n')
    sys.__excepthook__(kind, error, traceback)
    leave(1)


def _exit(status: int, message: str = '') -> None:
    """Ends the process and waits for nothing; the first thread that comes here says how."""
    _exiting.acquire()
    os.write(2, message.encode())
    os._exit(status)


def _when_aborted(status: int, message: str) -> None:
    """Lets abort(), by which JAX ends a process that has lost the others, end it in this way.

    Python's own signal handlers wait for the main thread, which may be in a collective for ever. This one
    runs in the thread of JAX that calls abort(), and may do what any thread may.
    """
    global _abort_handler
    _abort_handler = _Handler(lambda number: _exit(status, message))
    _libc_signal(signal.SIGABRT, _abort_handler)


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_libc_signal = ctypes.CDLL(None).signal
_libc_signal.argtypes, _libc_signal.restype = [ctypes.c_int, _Handler], ctypes.c_void_p
_abort_handler = None  # the C library does not keep it
