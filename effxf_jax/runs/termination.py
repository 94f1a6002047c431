"""SIGTERM and SIGINT, deferred until a run has saved its state."""

import signal
import threading
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

# Hosts exchange the signals they received about this often, or after every call of the train step if that
# takes longer. A message between hosts takes far less time, and launchers that end a job leave it half a
# minute.
_AGREE_SECONDS = 1.0


class Interrupted(BaseException):
    """The process received a signal to stop; all work worth saving is saved."""

    def __init__(self, signal_number: int):
        self.signal_number = signal_number
        super().__init__(f'Stopped by {signal.Signals(signal_number).name}')


class Termination:
    """While entered, turns SIGTERM and SIGINT into Interrupted: at once, or later while signals are deferred.

    A second signal raises at once. Outside the main thread, where Python allows no signal handlers, this does
    nothing.
    """

    def __init__(self):
        self._signal_number = 0
        self._deferred = False
        self._previous = {}
        self._agreed: tuple[int, float] | None = None  # step and time of the last exchange
        self._agree_at = 0

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
        """From now on a signal is recorded, for `asked` to return."""
        self._deferred = True

    def stop_deferring(self) -> None:
        """From now on a signal raises at once; so does this call if any host has received one."""
        asked = self._signal_number
        if jax.process_count() > 1:
            asked = int(multihost_utils.process_allgather(asked).max())
        self._deferred = False
        if asked := asked or self._signal_number:
            raise Interrupted(asked)

    def asked(self, step: int, at_once: bool = False) -> int:
        """The number of the signal received, or 0.

        At a given step all hosts return the same. They exchange their signals from time to time, or in this
        call with `at_once`.
        """
        if jax.process_count() == 1:
            return self._signal_number
        if step < self._agree_at and not at_once:
            return 0
        now = time.monotonic()
        last, since = self._agreed or (step - 1, now - _AGREE_SECONDS)
        seconds_per_step = (now - since) / max(1, step - last)
        # The slowest host decides, so that all exchange signals again at the same step.
        asked, seconds_per_step = multihost_utils.process_allgather(
            np.array([self._signal_number, seconds_per_step], np.float32)
        ).max(axis=0)
        self._agreed = step, now
        self._agree_at = step + max(1, int(_AGREE_SECONDS / seconds_per_step))
        return int(asked)
