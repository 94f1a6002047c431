"""SIGTERM and SIGINT, taken when it suits."""

import signal
import threading

import jax
from jax.experimental import multihost_utils

# Hosts compare notes this often: a message between hosts is cheap beside so many steps.
_AGREE_EVERY = 16


class Interrupted(BaseException):
    """The process was asked to stop, by the signal of this number; what there was to save is saved."""

    def __init__(self, signal_number: int):
        self.signal_number = signal_number
        super().__init__(f'Stopped by {signal.Signals(signal_number).name}')


class Termination:
    """While entered, turns SIGTERM and SIGINT into Interrupted: at once, or when asked while deferred.

    A second signal never waits. Outside the main thread, where Python lets nobody handle signals, it does
    nothing.
    """

    def __init__(self):
        self._signal_number = 0
        self._deferred = False
        self._previous = {}

    def __enter__(self) -> 'Termination':
        if threading.current_thread() is threading.main_thread():
            for number in signal.SIGTERM, signal.SIGINT:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number, frame) -> None:
        if self._signal_number or not self._deferred:
            raise Interrupted(number)
        self._signal_number = number

    def defer(self) -> None:
        """From now on a signal only counts as asked."""
        self._deferred = True

    def stop_deferring(self) -> None:
        """From now on a signal raises at once; so does this call, where one has come."""
        self._deferred = False
        if self._signal_number:
            raise Interrupted(self._signal_number)

    def asked(self, step: int) -> int:
        """The number of the signal that has come, or 0. Several hosts answer the same at one step."""
        if jax.process_count() == 1:
            return self._signal_number
        if step % _AGREE_EVERY:
            return 0
        return int(multihost_utils.process_allgather(self._signal_number).max())
