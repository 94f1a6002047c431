"""A signal can be deferred, a second one is immediate, and earlier handlers are restored."""

import os
import signal

import pytest

from effxf_jax.runs.termination import Interrupted, Termination


@pytest.fixture(autouse=True)
def handlers():
    """A handler of the test's own, which counts, so that no signal ends the tests."""
    counts = {signal.SIGTERM: 0, signal.SIGINT: 0}

    def count(number, frame):
        counts[number] += 1

    before = {number: signal.signal(number, count) for number in counts}
    yield counts
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_raises_at_once_unless_it_is_deferred(number):
    with pytest.raises(Interrupted) as caught, Termination():
        os.kill(os.getpid(), number)
    assert caught.value.signal_number == number
    with Termination() as termination:
        termination.defer()
        assert termination.asked(1) == 0
        os.kill(os.getpid(), number)
        assert termination.asked(2) == number
        with pytest.raises(Interrupted, match=number.name):
            termination.stop_deferring()


def test_a_second_signal_does_not_wait():
    with Termination() as termination:
        termination.defer()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match='SIGINT'):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_that_have_been_let_through_raise_again():
    with Termination() as termination:
        termination.defer()
        termination.stop_deferring()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)


def test_whoever_handled_signals_before_does_so_again(handlers):
    with pytest.raises(Interrupted), Termination():
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert handlers == {signal.SIGTERM: 0, signal.SIGINT: 1}
