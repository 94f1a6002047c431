"""A run: train, evaluate, decode and grade one experiment, in a directory that survives any kill.

Runs that differ in nothing but their seeds can be trained side by side, as one program: then the directory
holds one for each of them, which in the end is as it would be had the run been made alone.
"""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from effxf_jax import datasets, evaluation, hosts, training
from effxf_jax.checkpoints import Checkpoints
from effxf_jax.datasets import Stream
from effxf_jax.evaluation import Evaluation
from effxf_jax.experiment import Experiment
from effxf_jax.layout import Layout
from effxf_jax.model import Transformer
from effxf_jax.run_directory import MetricsLog, RunDirectory, check_same
from effxf_jax.termination import Interrupted, Termination
from effxf_jax.theory import complexity
from effxf_jax.training import DivergedError, Metrics, TrainState

_SAMPLES = 12


class Listener(Protocol):
    """What a run tells whoever watches it. Of runs side by side, all are told of together, by their seeds."""

    def started(self, num_params: int, step: int) -> None:
        """Training begins, after `step` steps made earlier."""

    def stepped(self, step: int, metrics: Mapping[int, Metrics]) -> None:
        """A step's metrics have come."""

    def evaluated(self, step: int, measured: Mapping[int, Evaluation]) -> None:
        """Some test examples have been graded."""

    def diverged(self, seed: int, reason: str) -> None:
        """One run of several is given up; the others go on."""

    def finished(self, results: Sequence[Mapping[str, Any]], samples: str) -> None:
        """The runs are done; samples are the first one's."""


class Totals(NamedTuple):
    """What training has taken up to its latest checkpoint; what a kill threw away does not count.

    Attributes:
        wall_seconds: from the beginning of `run`, with compilation, evaluations and TensorFlow's import.
        train_seconds: of these, the time spent in training steps.
    """

    wall_seconds: float = 0.0
    train_seconds: float = 0.0


class _Replicate:
    """One of the runs trained side by side.

    Attributes:
        experiment: what it would be alone.
        directory: its own; of a single run, that of all.
        sources: its examples.
        examples: those of the test examples that are graded while training.
        train_tokens: tokens of its batches so far, without padding.
        diverged: why it has been given up; None while it has not.
    """

    def __init__(self, experiment: Experiment, directory: RunDirectory, together: Experiment):
        """Opens its data; writes nothing.

        Args:
            experiment: its own.
            directory: that of all.
            together: what all of them are.
        """
        self.experiment = experiment
        alone = together.train.num_replicates == 1
        self.directory = directory if alone else _own(directory, experiment.seed)
        self.sources = experiment.open_data()
        self.examples = self.sources.test.read(np.arange(experiment.run.num_progress_examples))
        self.train_tokens = 0
        self.diverged: str | None = None


def run(experiment: Experiment, workdir: str | Path, listener: Listener) -> list[dict[str, Any]]:
    """Runs an experiment, or what is left of it, in a directory.

    Args:
        experiment: what to run.
        workdir: the run's directory; made where it does not exist. With several replicates each has a
            directory `seed-SEED` in it, and result.json lists all their results.
        listener: is told what happens.

    Returns:
        What the result.json of each replicate holds.

    Raises:
        MismatchError: the directory, or a checkpoint in it, is of another configuration.
        DataError: the data are not there; nothing is written then.
        InUseError: another process is running in the directory.
        DivergedError: the loss is no longer finite; the last good checkpoint stays. Of several replicates,
            this is raised when the others are done, or when there are none; one that diverged keeps its log.
        Interrupted: after SIGTERM or SIGINT, with the state saved if training had begun.
        OSError: the directory cannot be written.
    """
    directory = RunDirectory(workdir, writes=jax.process_index() == 0)
    directory.check(experiment.record)
    done = hosts.from_first(directory.read_result)
    if done is not None:
        results, diverged = done.get('replicates', [done]), {}
    else:
        replicates = [_Replicate(alone, directory, experiment) for alone in experiment.replicates()]
        several = len(replicates) > 1
        for replicate in replicates:
            replicate.directory.check(replicate.experiment.record)
        directory.claim(experiment.record)
        with contextlib.ExitStack() as stack:
            stack.enter_context(directory.lock())
            for replicate in replicates if several else []:
                replicate.directory.claim(replicate.experiment.record)
                stack.enter_context(replicate.directory.lock())
            termination = stack.enter_context(Termination())
            states, totals = _Training(experiment, replicates, directory, listener, termination).run()
            results = _finish(replicates, states, totals)
            diverged = _diverged(replicates)
            if several and not diverged:
                text = json.dumps({'replicates': results}, indent=2)
                directory.write_text('result.json', text + '\n')
    first = directory if experiment.train.num_replicates == 1 else _own(directory, results[0]['seed'])
    samples_path = first.path / 'samples.txt'
    listener.finished(results, samples_path.read_text() if samples_path.exists() else '')
    if diverged:
        raise _divergence(diverged)
    return results


def _own(directory: RunDirectory, seed: int) -> RunDirectory:
    """The directory of one of several replicates."""
    return RunDirectory(directory.path / f'seed-{seed}', directory.writes)


def _diverged(replicates: Sequence[_Replicate]) -> dict[int, str]:
    """Why replicates have been given up, by seed."""
    return {r.experiment.seed: r.diverged for r in replicates if r.diverged is not None}


def _divergence(reasons: Mapping[int, str]) -> DivergedError:
    return DivergedError('\n'.join(f'seed {seed}: {reason}' for seed, reason in reasons.items()))


class _Training:
    """Training from the latest checkpoint to the last step, of one or more replicates."""

    def __init__(
        self,
        experiment: Experiment,
        replicates: Sequence[_Replicate],
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
        """Makes the updates; the states come back as numpy arrays, one for each replicate."""
        begun = time.monotonic()
        config, train = self._experiment.run, self._experiment.train
        optimizer = training.make_optimizer(train)
        seeds = [replicate.experiment.seed for replicate in self._replicates]
        states = [training.init_state(self._model, optimizer, seed) for seed in seeds]
        num_params = sum(x.size for x in jax.tree.leaves(states[0].params))
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(
                Checkpoints(self._directory.path / 'checkpoints', config.checkpoints_kept)
            )
            start, states = self._restore(checkpoints, states)
            self._listener.started(num_params, start)
            logs = [stack.enter_context(MetricsLog(r.directory, start)) for r in self._replicates]
            layout = Layout(len(seeds))
            updates = training.run_steps(
                training.make_train_step(self._model, optimizer, seeds),
                layout,
                layout.to_devices(states),
                datasets.train_batches(
                    [Stream(r.sources.train, r.experiment.seed) for r in self._replicates],
                    train.batch_size,
                    start_step=start,
                    host=jax.process_index(),
                    hosts=jax.process_count(),
                ),
                start,
                train.steps,
            )
            unread = None  # the step before, whose metrics leave the devices while this one runs
            wall_before, resumed = self._totals.wall_seconds, time.monotonic()
            for step, on_devices, fetch in updates:
                self._termination.defer()  # now that there is something to save first
                if unread:
                    last, fetch_last = unread
                    self._report(logs, last, self._read(last, fetch_last))
                unread = step, fetch
                signal_number = self._termination.asked(step)
                evaluates = step % config.eval_every == 0 and step < train.steps
                saves = step % config.checkpoint_every == 0 or step == train.steps or signal_number
                if not (evaluates or saves):
                    continue

                # Divergence is known before a state is measured or saved.
                metrics, unread = self._read(step, fetch), None
                states = layout.to_host(on_devices)
                train_seconds = self._totals.train_seconds + time.monotonic() - resumed
                measured = {}
                if evaluates:
                    measured = self._evaluate(states)
                    self._listener.evaluated(step, measured)
                    signal_number = signal_number or self._termination.asked(step)
                self._report(logs, step, metrics, measured)
                self._totals = Totals(wall_before + time.monotonic() - begun, train_seconds)
                if saves or signal_number:
                    self._save(checkpoints, step, states)
                if signal_number:
                    raise Interrupted(signal_number)
                resumed = time.monotonic()
        self._termination.stop_deferring()
        return states, self._totals

    def _trained(self) -> list[_Replicate]:
        return [replicate for replicate in self._replicates if replicate.diverged is None]

    def _read(self, step: int, fetch) -> dict[int, Metrics]:
        """A step's metrics by seed, without those of replicates given up now or before."""
        metrics = {r.experiment.seed: m for r, m in zip(self._replicates, fetch(), strict=True)}
        for replicate in self._trained():
            try:
                training.check_finite(step, metrics[replicate.experiment.seed])
            except DivergedError as error:
                self._give_up(replicate, error)
        return {r.experiment.seed: metrics[r.experiment.seed] for r in self._trained()}

    def _give_up(self, replicate: _Replicate, error: DivergedError) -> None:
        """Goes on without a replicate; raises where it was the last one."""
        replicate.diverged = str(error)
        if len(self._replicates) == 1:
            raise error
        if not self._trained():
            raise _divergence(_diverged(self._replicates)) from error
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
        """Grades some test examples; by seed."""
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
        """The step and states of the latest checkpoint; the states as they are where there is none."""
        where = f'The checkpoint in {self._directory.path}'
        restored = checkpoints.restore_latest(
            _stack(states),
            check=lambda record: check_same(record['config'], self._experiment.record, where),
        )
        if restored is None:
            return 0, states
        self._totals = Totals(**restored.record['totals'])
        for replicate, record in zip(self._replicates, restored.record['replicates'], strict=True):
            replicate.train_tokens, replicate.diverged = record['train_tokens'], record['diverged']
        states = _unstack(restored.state, len(states))
        return int(states[0].step), states

    def _save(self, checkpoints: Checkpoints, step: int, states: Sequence[TrainState]) -> None:
        """Saves the states, unless none is left whose loss on some examples is a number.

        A step's metrics are of the parameters before its update; a good checkpoint's are good after it too.
        """
        for replicate, state in zip(self._replicates, states, strict=True):
            if replicate.diverged is not None:
                continue
            loss = evaluation.mean_loss(self._model, state.params, replicate.examples)
            if not np.isfinite(loss):
                self._give_up(
                    replicate,
                    DivergedError(f'the loss is {loss} at step {step + 1}, after a state that is not saved'),
                )
        checkpoints.save(step, _stack(states), _record(self._experiment, self._totals, self._replicates))


def _record(experiment: Experiment, totals: Totals, replicates: Sequence[_Replicate]) -> dict[str, Any]:
    """What is saved beside the states."""
    return {
        'config': experiment.record,
        'totals': totals._asdict(),
        'replicates': [{'train_tokens': r.train_tokens, 'diverged': r.diverged} for r in replicates],
    }


def _stack(states: Sequence[TrainState]) -> TrainState:
    """States of replicates as one, an axis over them before all others; of one, itself."""
    return states[0] if len(states) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def _unstack(stacked: TrainState, count: int) -> list[TrainState]:
    if count == 1:
        return [stacked]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]


def _finish(
    replicates: Sequence[_Replicate], states: Sequence[TrainState], totals: Totals
) -> list[dict[str, Any]]:
    """Grades generations of those that have not diverged, and writes the files that a finished run has."""
    begun = time.monotonic()
    results = []
    for replicate, state in zip(replicates, states, strict=True):
        if replicate.diverged is not None:
            continue
        result = replicate.directory.read_result()
        if result is None:
            result = _grade(replicate, state) | {
                'seed': replicate.experiment.seed,
                'num_replicates': len(replicates),
                'train_steps': replicate.experiment.train.steps,
                'train_tokens': replicate.train_tokens,
                'wall_seconds': totals.wall_seconds + time.monotonic() - begun,
                'train_seconds': totals.train_seconds,
                'tokens_per_second': replicate.train_tokens / totals.train_seconds,
                'num_params': sum(x.size for x in jax.tree.leaves(state.params)),
                'forward_flops': complexity.forward_cost(replicate.experiment.model).flops,
                'state_size': complexity.state_size(replicate.experiment.model),
            }
            if len(replicates) > 1:
                with Checkpoints(replicate.directory.path / 'checkpoints') as checkpoints:
                    record = _record(replicate.experiment, totals, [replicate])
                    checkpoints.save(int(state.step), state, record)
            replicate.directory.write_text('result.json', json.dumps(result, indent=2) + '\n')
        results.append(result)
    return results


def _grade(replicate: _Replicate, state: TrainState) -> dict[str, Any]:
    """Generates on the test examples, and writes samples.txt."""
    experiment = replicate.experiment
    count = experiment.run.num_eval_examples
    examples = replicate.sources.test.read(np.arange(count))
    measured, generations = evaluation.evaluate(
        Transformer(experiment.model), state.params, experiment.task, examples, experiment.run.eval_batch_size
    )
    samples = [evaluation.describe(experiment.task, generations, row) for row in range(min(_SAMPLES, count))]
    replicate.directory.write_text('samples.txt', '\n\n'.join(samples) + '\n')
    places = evaluation.first_errors(examples, generations.grade).tolist()
    return {**measured._asdict(), 'num_eval_examples': count, 'first_errors': places}
