"""Training from the latest checkpoint to the last step, of one run or of several side by side."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from effxf_jax import evaluation, training
from effxf_jax.constructions import weights
from effxf_jax.data.pipeline import Stream, train_batches
from effxf_jax.evaluation import Evaluation
from effxf_jax.model import Transformer
from effxf_jax.runs import hosts
from effxf_jax.runs.checkpoints import Checkpoints
from effxf_jax.runs.config import RANDOM
from effxf_jax.runs.directory import MetricsLog, RunDirectory, check_same
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.listener import Listener
from effxf_jax.runs.termination import Interrupted, Termination
from effxf_jax.training import Call, DivergedError, Metrics, TrainState
from effxf_jax.training.layout import Layout


class Totals(NamedTuple):
    """Time spent up to the latest checkpoint, over all restarts; work lost to a kill does not count.

    Attributes:
        wall_seconds: all time in `run`, including compilation, evaluations and TensorFlow's import.
        train_seconds: the part of it spent in training steps.
    """

    wall_seconds: float = 0.0
    train_seconds: float = 0.0


class Replicate:
    """One of the runs trained side by side.

    Attributes:
        experiment: the experiment of this seed alone.
        directory: the directory of this replicate; for a single run, the directory of the run.
        sources: the training and test examples.
        examples: the test examples that are graded during training.
        train_tokens: number of tokens trained on so far, without padding.
        diverged: why the replicate diverged; None if it has not.
    """

    def __init__(self, experiment: Experiment, directory: RunDirectory, together: Experiment):
        """Opens the data; writes nothing.

        Args:
            experiment: the experiment of this seed alone.
            directory: the directory of all replicates.
            together: the experiment of all replicates.
        """
        self.experiment = experiment
        alone = together.train.num_replicates == 1
        self.directory = directory if alone else own_directory(directory, experiment.seed)
        self.sources = experiment.open_data()
        self.examples = self.sources.test.read(np.arange(experiment.run.num_progress_examples))
        self.train_tokens = 0
        self.diverged: str | None = None


def own_directory(directory: RunDirectory, seed: int) -> RunDirectory:
    """The directory of one of several replicates."""
    return RunDirectory(directory.path / f'seed-{seed}', directory.active)


def reasons(replicates: Sequence[Replicate]) -> dict[int, str]:
    """Why replicates diverged, by seed."""
    return {r.experiment.seed: r.diverged for r in replicates if r.diverged is not None}


def divergence(reasons: Mapping[int, str]) -> DivergedError:
    """One error with all the reasons."""
    return DivergedError('\n'.join(f'seed {seed}: {reason}' for seed, reason in reasons.items()))


class TrainingLoop:
    """Trains one or more replicates from the latest checkpoint to the last step."""

    def __init__(
        self,
        experiment: Experiment,
        replicates: Sequence[Replicate],
        directory: RunDirectory,
        listener: Listener,
        termination: Termination,
    ):
        self._experiment = experiment
        self._replicates = replicates
        self._directory = directory
        self._listener = listener
        self._termination = termination
        self._model = Transformer(experiment.model)
        self._totals = Totals()

    def run(self) -> tuple[list[TrainState], Totals]:
        """Trains; returns the states as numpy arrays, one per replicate, and the time spent."""
        begun = time.monotonic()
        config, train = self._experiment.run, self._experiment.train
        optimizer = training.make_optimizer(train, self._experiment.model)
        seeds = [replicate.experiment.seed for replicate in self._replicates]
        states = [self._begin(optimizer, seed) for seed in seeds]
        num_params = sum(x.size for x in jax.tree.leaves(states[0].params))
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(
                Checkpoints(self._directory.path / 'checkpoints', config.checkpoints_kept)
            )
            start, states = self._restore(checkpoints, states)
            self._listener.started(num_params, start)
            logs = [stack.enter_context(MetricsLog(r.directory, start)) for r in self._replicates]
            layout = Layout(len(seeds))
            calls = training.run_steps(
                training.make_train_step(self._model, optimizer, seeds),
                layout,
                layout.to_devices(states),
                train_batches(
                    [Stream(r.sources.train, r.experiment.seed) for r in self._replicates],
                    train.batch_size,
                    start_step=start,
                    host=jax.process_index(),
                    hosts=jax.process_count(),
                ),
                start,
                train.steps,
                training.updates_in_call(train, self._experiment.model, num_params),
                ends=(config.eval_every, config.checkpoint_every),
            )
            unread = None  # the previous call, whose metrics are copied to the host while this one runs
            wall_before, resumed = self._totals.wall_seconds, time.monotonic()
            for call in calls:
                self._termination.defer()  # from here on a state is saved before the process stops
                if unread:
                    self._report(logs, unread.steps[-1], self._read(logs, unread))
                unread, step = call, call.steps[-1]
                signal_number = self._termination.asked(step)
                evaluates = step % config.eval_every == 0 and step < train.steps
                saves = step % config.checkpoint_every == 0 or step == train.steps or signal_number
                if not (evaluates or saves):
                    continue

                # Divergence is detected before a state is evaluated or saved.
                metrics, unread = self._read(logs, call), None
                states = layout.to_host(call.state)
                train_seconds = self._totals.train_seconds + time.monotonic() - resumed
                measured = {}
                if evaluates:
                    measured = hosts.from_first(lambda states=states: self._evaluate(states))
                    self._listener.evaluated(step, measured)
                    signal_number = signal_number or self._termination.asked(step, at_once=True)
                self._report(logs, step, metrics, measured)
                self._totals = Totals(wall_before + time.monotonic() - begun, train_seconds)
                if saves or signal_number:
                    self._save(checkpoints, step, states)
                if signal_number:
                    raise Interrupted(signal_number)
                resumed = time.monotonic()
            if not train.steps:
                self._save(checkpoints, 0, states)
        self._termination.stop_deferring()
        return states, self._totals

    def _begin(self, optimizer, seed: int) -> TrainState:
        """The state before the first update, as numpy arrays."""
        state, config = training.init_state(self._model, optimizer, seed), self._experiment.run
        if config.start != RANDOM:
            task, model = self._experiment.task, self._experiment.model
            params = weights.params(task, model, config.start, config.start_noise, seed)
            state = state._replace(params=params)
        return jax.tree.map(np.asarray, state)

    def _trained(self) -> list[Replicate]:
        return [replicate for replicate in self._replicates if replicate.diverged is None]

    def _read(self, logs, call: Call) -> dict[int, Metrics]:
        """Reports the steps of a call except the last one, whose metrics by seed it returns."""
        metrics = {}
        for step, of_step in zip(call.steps, call.fetch(), strict=True):
            if step > call.steps[0]:
                self._report(logs, step - 1, metrics)
            metrics = self._checked(step, of_step)
        return metrics

    def _checked(self, step: int, of_step: Sequence[Metrics]) -> dict[int, Metrics]:
        """A step's metrics by seed, except those of replicates that diverged at this step or before."""
        metrics = {r.experiment.seed: m for r, m in zip(self._replicates, of_step, strict=True)}
        for replicate in self._trained():
            try:
                training.check_finite(step, metrics[replicate.experiment.seed])
            except DivergedError as error:
                self._stop_replicate(replicate, error)
        return {r.experiment.seed: metrics[r.experiment.seed] for r in self._trained()}

    def _stop_replicate(self, replicate: Replicate, error: DivergedError) -> None:
        """Continues without a replicate that diverged; raises if no other one is left."""
        replicate.diverged = str(error)
        if len(self._replicates) == 1:
            raise error
        if not self._trained():
            raise divergence(reasons(self._replicates)) from error
        self._listener.diverged(replicate.experiment.seed, replicate.diverged)

    def _report(
        self, logs, step: int, metrics: Mapping[int, Metrics], measured: Mapping | None = None
    ) -> None:
        to_tensorboard = step % self._experiment.run.log_every == 0
        for replicate, log in zip(self._replicates, logs, strict=True):
            seed = replicate.experiment.seed
            if seed in metrics:
                replicate.train_tokens += int(metrics[seed].tokens)
                log.write(step, metrics[seed], (measured or {}).get(seed), to_tensorboard)
        self._listener.stepped(step, metrics)

    def _evaluate(self, states: Sequence[TrainState]) -> dict[int, Evaluation]:
        """Grades the test examples for progress; returns evaluations by seed."""
        return {
            replicate.experiment.seed: evaluation.evaluate(
                self._model,
                state.params,
                self._experiment.task,
                replicate.examples,
                self._experiment.run.eval_batch_size,
            )[0]
            for replicate, state in zip(self._replicates, states, strict=True)
            if replicate.diverged is None
        }

    def _restore(self, checkpoints: Checkpoints, states: list[TrainState]) -> tuple[int, list[TrainState]]:
        """The step and states of the latest checkpoint; without one, 0 and the first host's `states`."""
        where = f'The checkpoint in {self._directory.path}'
        restored = checkpoints.restore_latest(
            _stack(states),
            check=lambda record: check_same(record['config'], self._experiment.record, where),
        )
        if restored is None:
            return 0, hosts.from_first(lambda: states)  # other processors may round differently
        self._totals = Totals(**restored.record['totals'])
        for replicate, record in zip(self._replicates, restored.record['replicates'], strict=True):
            replicate.train_tokens, replicate.diverged = record['train_tokens'], record['diverged']
        states = _unstack(restored.state, len(states))
        return int(states[0].step), states

    def _save(self, checkpoints: Checkpoints, step: int, states: Sequence[TrainState]) -> None:
        """Saves the states, provided that a replicate is left whose loss on some test examples is finite.

        A step's metrics describe the parameters before its update; the loss here checks them after it.
        """
        measure = lambda: {
            replicate.experiment.seed: evaluation.mean_loss(self._model, state.params, replicate.examples)
            for replicate, state in zip(self._replicates, states, strict=True)
            if replicate.diverged is None
        }
        losses = hosts.from_first(measure)
        for replicate in self._trained():
            loss = losses[replicate.experiment.seed]
            if not np.isfinite(loss):
                self._stop_replicate(
                    replicate,
                    DivergedError(f'the loss is {loss} after step {step}, whose state is not saved'),
                )
        checkpoints.save(step, _stack(states), record(self._experiment, self._totals, self._replicates))


def record(experiment: Experiment, totals: Totals, replicates: Sequence[Replicate]) -> dict[str, Any]:
    """The record that is saved with the states."""
    return {
        'config': experiment.record,
        'totals': totals._asdict(),
        'replicates': [{'train_tokens': r.train_tokens, 'diverged': r.diverged} for r in replicates],
    }


def _stack(states: Sequence[TrainState]) -> TrainState:
    """The states of replicates stacked along a new first axis; a single state is returned as it is."""
    return states[0] if len(states) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def _unstack(stacked: TrainState, count: int) -> list[TrainState]:
    if count == 1:
        return [stacked]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]
