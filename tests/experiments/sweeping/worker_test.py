"""A worker reports the progress of its cell, and waits while a lost worker holds the directory."""

import os

import pytest

from effxf_jax.evaluation import Evaluation
from effxf_jax.runs import run as run_module
from effxf_jax.runs.directory import InUseError
from effxf_jax.runs.termination import Interrupted
from effxf_jax.training import OPTIMIZERS
from experiments import arith, compilations, configs
from experiments.sweeping import worker
from experiments.sweeping.worker import Event

RECORD = configs.make_experiment(arith.get_config('smoke')).record


class Events:
    """A stand-in for the actor that records its events."""

    def __init__(self):
        self.told = []
        self.put = self

    def remote(self, event):
        self.told.append(event)


def measured(answers, chains):
    zeros = dict.fromkeys(Evaluation._fields, 0.0)
    return Evaluation(**{**zeros, 'answer_accuracy': answers, 'chain_accuracy': chains})


def test_accuracies_are_told_as_their_mean_over_seeds():
    events = Events()
    worker._Reporter('cell', events).evaluated(20, {3: measured(0.5, 0.2), 4: measured(1.0, 0.4)})
    (event,) = events.told
    assert (event.name, event.step) == ('cell', 20)
    assert event.accuracy['answer_accuracy'] == 0.75
    assert event.accuracy['chain_accuracy'] == pytest.approx(0.3)


CONFIG_FILE = """
import optax
from effxf_jax.training import OPTIMIZERS
from experiments.arith import get_config

def sgd(momentum: float = 0.9):
    return lambda rate, roles: optax.sgd(rate, momentum)

OPTIMIZERS['sgd'] = sgd
"""


def test_a_worker_knows_what_a_config_file_adds_to_the_library(monkeypatch, tmp_path):
    path = tmp_path / 'with_sgd.py'
    path.write_text(CONFIG_FILE)
    before = dict(OPTIMIZERS)
    record = configs.make_experiment(configs.load(f'{path}:smoke,optimizer=sgd,momentum=0.5')).record
    # A worker is another process: it has neither the row nor executed the file.
    OPTIMIZERS.pop('sgd')
    os.utime(path, ns=(1, 1))
    received = []
    monkeypatch.setattr(run_module, 'run', lambda experiment, *rest: received.append(experiment))
    monkeypatch.setattr(compilations, 'keep', lambda: None)
    try:
        assert worker.run_cell(str(path), record, str(tmp_path / 'cell'), Events(), 0) is None
        assert dict(received[0].train.options) == {'momentum': 0.5}
    finally:
        OPTIMIZERS.clear()
        OPTIMIZERS.update(before)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a cell whose attempts end with these errors, one after the other."""

    def run(*errors):
        left = list(errors)

        def attempt(*args):
            if left:
                raise left.pop(0)

        monkeypatch.setattr(run_module, 'run', attempt)
        monkeypatch.setattr(compilations, 'keep', lambda: None)
        monkeypatch.setattr(worker.time, 'sleep', lambda seconds: None)
        events = Events()
        failure = worker.run_cell('experiments/arith.py', RECORD, str(tmp_path / 'cell'), events, 0)
        assert events.told[0] == Event('cell', None)
        return failure

    return run


def test_a_directory_in_use_is_waited_for_but_not_for_ever(run, monkeypatch):
    assert run(InUseError('held'), InUseError('held')) is None
    monkeypatch.setattr(worker, '_IN_USE_SECONDS', -1.0)
    assert run(InUseError('held by 7\nand more'))['error'] == 'held by 7'


def test_why_a_cell_is_not_done_is_told_in_a_line(run):
    assert run(Interrupted(15)) == worker.STOPPED
    failure = run(OSError(28, 'No space left'))
    assert failure['error'] == 'OSError: [Errno 28] No space left'
    assert 'Traceback' in failure['traceback']
