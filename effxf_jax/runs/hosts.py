"""One run on several hosts: how they connect, how the first one sends values to the others, how they exit.

A host is a process here, wherever it runs. If one host fails, all stop. The run resumes from the latest
checkpoint, on any number of hosts.
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
from jax._src import distributed  # for a barrier with a timeout; JAX has no public one
from jax.experimental import multihost_utils

T = TypeVar('T')

GONE = (
    'another host of the job is gone, or this host failed for the reason given above. '
    'Checkpoints are kept; to resume, run the same command on all hosts again.'
)

# A host that has been silent for this long counts as dead.
HEARTBEAT_SECONDS = 30
# How long a host that exits waits for the others to exit, too. After a signal all hosts exit, but they may
# still be closing files.
_LEAVE_SECONDS, _STOP_SECONDS = 5, 15
_LAST_SECONDS = 1.0
# A host that waits for another one handles signals this often.
_POLL_SECONDS = 1.0

_UNKNOWN = (
    'No job of SLURM, Open MPI (before version 5) or a TPU pod was detected; in any other setting, '
    'coordinator_address, num_processes and process_id are all required.'
)

_exiting = threading.Lock()
_made = itertools.count()


class JoinError(RuntimeError):
    """The hosts cannot connect, or do not match."""


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: int = 300,
) -> None:
    """Connects to the other hosts of the job. Call it before any other use of JAX.

    From then on, if another host is gone, this process exits with a message and status 1.

    Args:
        coordinator_address: HOST:PORT of the first host, as the others reach it; by default the value of
            JAX_COORDINATOR_ADDRESS. Arguments that are still None are taken from SLURM, Open MPI before
            version 5, or the TPU.
        num_processes: number of hosts.
        process_id: index of this host, from 0.
        timeout_seconds: how long to wait for the other hosts; then this process exits in the same way.

    Raises:
        JoinError: the other hosts are unknown, or hosts have different numbers of devices.
    """
    address = coordinator_address or os.environ.get('JAX_COORDINATOR_ADDRESS')
    if address is not None and not re.fullmatch(r'.+:\d+', address):
        raise JoinError(f'coordinator_address must be HOST:PORT; got {address!r}')
    explicit = None not in (address, num_processes, process_id)
    where = f' at {address}' if address else ''
    _when_aborted(
        1,
        f'Stopped: not all hosts connected{where} within {timeout_seconds} s; '
        'can every host reach the first one?\n',
    )
    jax.config.update('jax_enable_preemption_service', False)  # it would intercept SIGTERM
    try:
        jax.distributed.initialize(
            address,
            num_processes,
            process_id,
            # Within a SLURM allocation, detection would limit hosts to one device each.
            cluster_detection_method='deactivate' if explicit else None,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, TypeError, ValueError) as error:
        hint = '' if explicit else f' {_UNKNOWN}'
        raise JoinError(f'the hosts cannot connect{where}: {error}{hint}') from error
    _when_aborted(1, f'Stopped: {GONE}\n')
    sys.excepthook = _leave_with
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        each = ', '.join(str(counts[host]) for host in sorted(counts))
        raise JoinError(f'every host must have the same number of devices; got {each}')


def from_first(make: Callable[[], T]) -> T:
    """Calls `make` on the first host and returns its result on every host.

    The result must be picklable; the call may take any time.
    """
    if jax.process_count() == 1:
        return make()
    client, key = distributed.global_state.client, f'effxf_jax/made/{next(_made)}'
    # A collective times out if one host is late, so all hosts wait for each other before the broadcast.
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
    """Waits until another host has set a key."""
    while True:
        try:
            client.blocking_key_value_get(key, round(_POLL_SECONDS * 1000))
            return
        except jax.errors.JaxRuntimeError as error:
            if 'DEADLINE_EXCEEDED' not in str(error):
                raise


def leave(status: int, at_once: bool = False) -> int:
    """Ends the process if it failed and there are other hosts; otherwise returns the status.

    An ordinary exit would wait for the other hosts, which may be waiting for this one in a collective. Hosts
    that are exiting as well get a moment to do so.

    Args:
        status: the exit status.
        at_once: ends the process without other hosts, too, and without waiting for its threads.
    """
    client = distributed.global_state.client
    if client is not None and status != 0:
        sys.stdout.flush()
        _when_aborted(status, '')
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # not all hosts are exiting
            client.wait_at_barrier('leave', 1000 * (_STOP_SECONDS if status > 128 else _LEAVE_SECONDS))
            if jax.process_index() == 0:  # the others would report its exit as a failure
                time.sleep(_LAST_SECONDS)
        _exit(status)
    if at_once:
        sys.stdout.flush()
        _exit(status)
    return status


def _leave_with(kind, error, traceback) -> None:
    """The `sys.excepthook` of a process that has joined other hosts."""
    # If another host is gone, a collective may raise any of several classes, including ValueError.
    if re.search('Gloo|NCCL|UNAVAILABLE', str(error)):
        reason = str(error).partition('\n')[0]
        _exit(1, f'Stopped: {GONE} ({reason})\n')
    sys.__excepthook__(kind, error, traceback)
    leave(1)


def _exit(status: int, message: str = '') -> None:
    """Ends the process at once, with the status and message of the first thread that calls this."""
    _exiting.acquire()
    os.write(2, message.encode())
    os._exit(status)


def _when_aborted(status: int, message: str) -> None:
    """Sets the status and message with which abort() ends the process; JAX calls it when a host is lost.

    Python's own signal handlers wait for the main thread, which may be in a collective forever. This handler
    runs in the thread of JAX that calls abort(), and may do anything that a thread may do.
    """
    global _abort_handler
    _abort_handler = _Handler(lambda number: _exit(status, message))
    _libc_signal(signal.SIGABRT, _abort_handler)


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_libc_signal = ctypes.CDLL(None).signal
_libc_signal.argtypes, _libc_signal.restype = [ctypes.c_int, _Handler], ctypes.c_void_p
_abort_handler = None  # a reference that keeps the handler alive
