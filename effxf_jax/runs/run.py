"""A run: trains, evaluates, decodes and grades one experiment, in a directory that survives any kill.

Runs that differ only in their seeds can be trained side by side, as one program. The directory then holds one
directory per seed, with the same content in the end as if this seed were run alone.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

import effxf_jax
from effxf_jax import evaluation
from effxf_jax.data.sources import digest
from effxf_jax.model import Transformer
from effxf_jax.runs import hosts, loop, machine, memory
from effxf_jax.runs.checkpoints import Checkpoints
from effxf_jax.runs.directory import MismatchError, RunDirectory, differences
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.listener import Listener, Silent
from effxf_jax.runs.loop import Replicate, Totals, TrainingLoop
from effxf_jax.runs.termination import Termination
from effxf_jax.theory import complexity
from effxf_jax.training import TrainState

_SAMPLES = 12


def run(experiment: Experiment, workdir: str | Path, listener: Listener) -> list[dict[str, Any]]:
    """Runs an experiment in a directory, or resumes it there.

    Args:
        experiment: the experiment to run.
        workdir: the run's directory, created if needed. With several replicates each has a directory
            `seed-SEED` in it, and result.json lists all their results.
        listener: receives the run's progress, on the first host only.

    Returns:
        The content of each replicate's result.json.

    Raises:
        MismatchError: the directory, or a checkpoint in it, has another configuration; or the hosts differ
            in experiment, data or code.
        MemoryLimitError: the run does not fit into memory; nothing is written.
        DataError: the examples are missing, invalid or too few; nothing is written.
        InUseError: another process is using the directory.
        DivergedError: the loss is no longer finite; the last good checkpoint is kept. If some of several
            replicates diverge, they keep their logs, and the error is raised after the others are done.
        Interrupted: SIGTERM or SIGINT arrived; the state is saved if training had begun.
        OSError: the directory cannot be written.
    """
    is_first = jax.process_index() == 0
    directory, listener = RunDirectory(workdir, is_first), listener if is_first else Silent()
    directory.check(experiment.record)
    done = hosts.from_first(directory.read_result)
    if done is not None:
        results, diverged = done.get('replicates', [done]), {}
    else:
        memory.check(experiment, jax.device_count())
        replicates = [Replicate(alone, directory, experiment) for alone in experiment.replicates()]
        several = len(replicates) > 1
        if jax.process_count() > 1:
            _check_alike(experiment, replicates)
        for replicate in replicates:
            replicate.directory.check(replicate.experiment.record)
        directory.claim(experiment.record)
        with contextlib.ExitStack() as stack:
            stack.enter_context(directory.lock())
            for replicate in replicates if several else []:
                replicate.directory.claim(replicate.experiment.record)
                stack.enter_context(replicate.directory.lock())
            termination = stack.enter_context(Termination())
            states, totals = TrainingLoop(experiment, replicates, directory, listener, termination).run()
            results = hosts.from_first(lambda: _finish(replicates, states, totals))
            diverged = loop.reasons(replicates)
            if several and not diverged:
                text = json.dumps({'replicates': results}, indent=2)
                directory.write_text('result.json', text + '\n')
    first = directory
    if experiment.train.num_replicates > 1:
        first = loop.own_directory(directory, results[0]['seed'])
    listener.finished(results, first.read_text('samples.txt') or '')
    if diverged:
        raise loop.divergence(diverged)
    return results


def _check_alike(experiment: Experiment, replicates: Sequence[Replicate]) -> None:
    """Checks that all hosts have the same experiment, data and code; a difference would go unnoticed.

    Raises:
        MismatchError: a host differs. All hosts raise it; the message on that host names the differences.
    """
    code = sorted(Path(effxf_jax.__file__).parent.rglob('*.py'))
    own = {
        **experiment.record,
        'version of JAX': jax.__version__,
        'digest of effxf_jax': hashlib.sha256(b''.join(map(Path.read_bytes, code))).hexdigest()[:10],
        'examples': [digest(replicate.sources.train) for replicate in replicates],
    }
    differing = differences(hosts.from_first(lambda: own), own)
    (others,) = np.nonzero(multihost_utils.process_allgather(bool(differing)))
    if differing:
        raise MismatchError(f'the first host and this one differ: {differing}')
    if others.size:
        raise MismatchError(f'hosts {others.tolist()} differ from the first one; their messages say where')


def _finish(
    replicates: Sequence[Replicate], states: Sequence[TrainState], totals: Totals
) -> list[dict[str, Any]]:
    """Grades the replicates that have not diverged, and writes the remaining files of each run."""
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
                'tokens_per_second': replicate.train_tokens / max(totals.train_seconds, 1e-9),
                # The devices at the end; earlier steps may have run on others.
                'devices': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
                'machine': f'{machine.processor()}, {os.cpu_count()} cores',
                'version': effxf_jax.__version__,
                'jax_version': jax.__version__,
                'num_params': sum(x.size for x in jax.tree.leaves(state.params)),
                'forward_flops': complexity.forward_cost(replicate.experiment.model).flops,
                'state_size': complexity.state_size(replicate.experiment.model),
            }
            if len(replicates) > 1:
                with Checkpoints(replicate.directory.path / 'checkpoints') as checkpoints:
                    record = loop.record(replicate.experiment, totals, [replicate])
                    checkpoints.save(int(state.step), state, record)
            replicate.directory.write_text('result.json', json.dumps(result, indent=2) + '\n')
        results.append(result)
    return results


def _grade(replicate: Replicate, state: TrainState) -> dict[str, Any]:
    """Decodes and grades the test examples, and writes samples.txt; returns the measures."""
    experiment = replicate.experiment
    count = experiment.run.num_eval_examples
    examples = replicate.sources.test.read(np.arange(count))
    measured, generations = evaluation.evaluate(
        Transformer(experiment.model), state.params, experiment.task, examples, experiment.run.eval_batch_size
    )
    samples = [evaluation.describe(experiment.task, generations, row) for row in range(min(_SAMPLES, count))]
    replicate.directory.write_text('samples.txt', '\n\n'.join(samples) + '\n')
    places = evaluation.first_errors(examples, generations.grade).tolist()
    return {
        **measured._asdict(),
        'num_eval_examples': count,
        'distinct_test_prompts': evaluation.distinct_prompts(examples),
        'first_errors': places,
    }
