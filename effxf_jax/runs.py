"""A run: train, evaluate, decode and grade one experiment, in a directory that survives any kill."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from flax import jax_utils

from effxf_jax import datasets, evaluation, training
from effxf_jax.blocks import DataError
from effxf_jax.checkpoints import Checkpoints
from effxf_jax.datasets import DataConfig, Sources
from effxf_jax.evaluation import Evaluation
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.run_directory import MetricsLog, RunDirectory, check_same
from effxf_jax.tasks import Examples, Task
from effxf_jax.termination import Interrupted, Termination
from effxf_jax.training import DivergedError, Metrics, TrainConfig, TrainState

_SAMPLES = 12


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What happens around training.

    Attributes:
        num_eval_examples: test examples generated and graded at the end.
        num_progress_examples: of these, how many are also graded while training.
        eval_every: steps between these gradings.
        eval_batch_size: test examples decoded at a time.
        checkpoint_every: steps between checkpoints.
        checkpoints_kept: how many of the latest checkpoints stay.
        log_every: steps between points for TensorBoard; metrics.jsonl has every step.

    Raises:
        ValueError: naming every value below 1.
    """

    num_eval_examples: int
    num_progress_examples: int
    eval_every: int
    eval_batch_size: int
    checkpoint_every: int
    checkpoints_kept: int
    log_every: int

    def __post_init__(self):
        problems = [
            f'{field.name} must be at least 1; got {getattr(self, field.name)}'
            for field in dataclasses.fields(self)
            if getattr(self, field.name) < 1
        ]
        if problems:
            raise ValueError('\n'.join(problems))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that a run's outcome depends on.

    Attributes:
        seed: of parameters, dropout and data.
        task, model, data, train, run: the parts.
        record: all of it as nested plain values: what config.json holds, and what a directory must agree
            with to be gone on with.
    """

    seed: int
    task: Task
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    run: RunConfig
    record: Mapping[str, Any]

    def open_data(self) -> Sources:
        """The examples to train and to test on.

        Raises:
            DataError: they are not there, or too few.
            OSError: they cannot be read.
        """
        sources = datasets.open_sources(self.data, self.task, self.seed)
        most, asked = sources.test.num_examples, self.run.num_eval_examples
        if most is not None and asked > most:
            raise DataError(f'num_eval_examples must be at most {most:,}, the test examples; got {asked:,}')
        return sources


class Listener(Protocol):
    """What a run tells whoever watches it."""

    def started(self, num_params: int, step: int) -> None:
        """Training begins, after `step` steps made earlier."""

    def stepped(self, step: int, metrics: Metrics) -> None:
        """A step's metrics have come."""

    def evaluated(self, step: int, measured: Evaluation) -> None:
        """Some test examples have been graded."""

    def finished(self, result: Mapping[str, Any], samples: str) -> None:
        """The run is done."""


class Totals(NamedTuple):
    """What a run has taken up to its latest checkpoint; what a kill threw away does not count.

    Attributes:
        wall_seconds: from the beginning of `run`, compilation and evaluations included, imports not.
        train_seconds: of these, the time spent in training steps.
        train_tokens: tokens of the batches, without padding.
    """

    wall_seconds: float = 0.0
    train_seconds: float = 0.0
    train_tokens: int = 0


def run(experiment: Experiment, workdir: str | Path, listener: Listener) -> dict[str, Any]:
    """Runs an experiment, or what is left of it, in a directory.

    Args:
        experiment: what to run.
        workdir: the run's directory; made where it does not exist.
        listener: is told what happens.

    Returns:
        What result.json holds.

    Raises:
        MismatchError: the directory, or a checkpoint in it, is of another configuration.
        DataError: the data are not there; nothing is written then.
        InUseError: another process is running in the directory.
        DivergedError: the loss is no longer finite; the last good checkpoint stays.
        Interrupted: after SIGTERM or SIGINT, with the state saved if training had begun.
        OSError: the directory cannot be written.
    """
    directory = RunDirectory(workdir, writes=jax.process_index() == 0)
    directory.check(experiment.record)
    result = directory.read_result()
    if result is None:
        sources = experiment.open_data()
        directory.claim(experiment.record)
        with directory.lock(), Termination() as termination:
            state, totals = _train(experiment, sources, directory, listener, termination)
            result = _finish(experiment, sources, state, totals, directory)
    samples_path = directory.path / 'samples.txt'
    listener.finished(result, samples_path.read_text() if samples_path.exists() else '')
    return result


def _train(
    experiment: Experiment,
    sources: Sources,
    directory: RunDirectory,
    listener: Listener,
    termination: Termination,
) -> tuple[TrainState, Totals]:
    """Trains from the latest checkpoint to the last step; the state comes back as numpy arrays."""
    begun = time.monotonic()
    config = experiment.run
    model = Transformer(experiment.model)
    optimizer = training.make_optimizer(experiment.train)
    state = training.init_state(model, optimizer, experiment.seed)
    with Checkpoints(directory.path / 'checkpoints', config.checkpoints_kept) as checkpoints:
        state, totals = _restore(checkpoints, state, experiment, directory)
        start = int(state.step)
        listener.started(sum(x.size for x in jax.tree.leaves(state.params)), start)
        train_step = training.make_train_step(model, optimizer, experiment.seed)
        batches = datasets.train_batches(
            sources.train,
            experiment.train.batch_size,
            experiment.seed,
            start_step=start,
            host=jax.process_index(),
            hosts=jax.process_count(),
        )
        examples = sources.test.read(np.arange(config.num_progress_examples))
        with MetricsLog(directory, start) as log:

            def report(step, metrics, measured=None):
                nonlocal totals
                totals = totals._replace(train_tokens=totals.train_tokens + int(metrics.tokens))
                log.write(step, metrics, measured, to_tensorboard=step % config.log_every == 0)
                listener.stepped(step, metrics)

            unread = None  # the step before, whose metrics leave the devices while this one runs
            wall_before, resumed = totals.wall_seconds, time.monotonic()
            steps = experiment.train.steps
            updates = training.run_steps(train_step, jax_utils.replicate(state), batches, start, steps)
            for step, replicated, fetch in updates:
                termination.defer()  # now that there is something to save first
                if unread:
                    report(unread[0], unread[1]())
                unread = step, fetch
                signal_number = termination.asked(step)
                evaluates = step % config.eval_every == 0 and step < steps
                saves = step % config.checkpoint_every == 0 or step == steps or signal_number
                if not (evaluates or saves):
                    continue

                metrics, unread = fetch(), None  # raises before a diverged state is measured or saved
                state = training.to_host(replicated)
                train_seconds = totals.train_seconds + time.monotonic() - resumed
                measured = None
                if evaluates:
                    measured, _ = evaluation.evaluate(
                        model, state.params, experiment.task, examples, config.eval_batch_size
                    )
                    listener.evaluated(step, measured)
                    signal_number = signal_number or termination.asked(step)
                report(step, metrics, measured)
                totals = totals._replace(
                    train_seconds=train_seconds, wall_seconds=wall_before + time.monotonic() - begun
                )
                if saves or signal_number:
                    _save(checkpoints, model, state, totals, experiment, examples)
                if signal_number:
                    raise Interrupted(signal_number)
                resumed = time.monotonic()
    termination.stop_deferring()
    return state, totals


def _restore(
    checkpoints: Checkpoints, state: TrainState, experiment: Experiment, directory: RunDirectory
) -> tuple[TrainState, Totals]:
    """The latest checkpoint; the state as it is where there is none."""
    where = f'The checkpoint in {directory.path}'
    restored = checkpoints.restore_latest(
        state, check=lambda record: check_same(record['config'], experiment.record, where)
    )
    return (state, Totals()) if restored is None else (restored.state, Totals(**restored.record['totals']))


def _save(
    checkpoints: Checkpoints,
    model: Transformer,
    state: TrainState,
    totals: Totals,
    experiment: Experiment,
    examples: Examples,
) -> None:
    """Saves a state, if its loss on some examples is a number.

    A step's metrics are of the parameters before its update; a good checkpoint's are good after it too.
    """
    loss = evaluation.mean_loss(model, state.params, examples)
    if not np.isfinite(loss):
        raise DivergedError(
            f'the loss is {loss} at step {int(state.step) + 1}; the state before is not saved'
        )
    checkpoints.save(state, {'config': experiment.record, 'totals': totals._asdict()})


def _finish(
    experiment: Experiment, sources: Sources, state: TrainState, totals: Totals, directory: RunDirectory
) -> dict[str, Any]:
    """Grades generations on the test examples, and writes samples.txt and result.json."""
    begun = time.monotonic()
    config = experiment.run
    examples = sources.test.read(np.arange(config.num_eval_examples))
    model = Transformer(experiment.model)
    measured, generations = evaluation.evaluate(
        model, state.params, experiment.task, examples, config.eval_batch_size
    )
    samples = [
        evaluation.describe(experiment.task, generations, row)
        for row in range(min(_SAMPLES, config.num_eval_examples))
    ]
    directory.write_text('samples.txt', '\n\n'.join(samples) + '\n')
    result = {
        **measured._asdict(),
        'num_eval_examples': config.num_eval_examples,
        'train_steps': experiment.train.steps,
        'train_tokens': totals.train_tokens,
        'wall_seconds': totals.wall_seconds + time.monotonic() - begun,
        'train_seconds': totals.train_seconds,
        'tokens_per_second': totals.train_tokens / totals.train_seconds,
        'num_params': sum(x.size for x in jax.tree.leaves(state.params)),
    }
    directory.write_text('result.json', json.dumps(result, indent=2) + '\n')
    return result
