"""SIGTERM and SIGINT, taken when it suits."""

import signal
import threading
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

# Hosts compare notes about this often, or after every step that takes longer: a message between hosts is
# cheap beside it, and launchers that end a job give it half a minute.
_AGREE_SECONDS = 1.0


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
        self._agreed: tuple[int, float] | None = None  # at which step, and when
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
        """From now on a signal only counts as asked."""
        self._deferred = True

    def stop_deferring(self) -> None:
        """From now on a signal raises at once; so does this call, where one has come to any host."""
        asked = self._signal_number
        if jax.process_count() > 1:
            asked = int(multihost_utils.process_allgather(asked).max())
        self._deferred = False
        if asked := asked or self._signal_number:
            raise Interrupted(asked)

    def asked(self, step: int, at_once: bool = False) -> int:
        """The number of the signal that has come, or 0.

        Several hosts answer the same at one step: what they know when they last compared notes, which they do
        from time to time, or at_once.
        """
        if jax.process_count() == 1:
            return self._signal_number
        if step < self._agree_at and not at_once:
            return 0
        now = time.monotonic()
        last, since = self._agreed or (step - 1, now - _AGREE_SECONDS)
        seconds_per_step = (now - since) / max(1, step - last)
        # The slowest host's, so that all compare notes again at the same step.
        asked, seconds_per_step = multihost_utils.process_allgather(
            np.array([self._signal_number, seconds_per_step], np.float32)
        ).max(axis=0)
        self._agreed = step, now
        self._agree_at = step + max(1, int(_AGREE_SECONDS / seconds_per_step))
        return int(asked)
