"""The loop of updates, several of them in one call of the train step."""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from effxf_jax.model import ModelConfig
from effxf_jax.tasks import Examples
from effxf_jax.training.config import TrainConfig
from effxf_jax.training.layout import Layout
from effxf_jax.training.step import Metrics, TrainState


class DivergedError(FloatingPointError):
    """The loss or the gradient is no longer finite."""


class Call(NamedTuple):
    """Updates that are dispatched together.

    Attributes:
        steps: the numbers of the updates; a run's first update is 1.
        state: the states after the last update, on devices. They are donated to the next call, so use them
            before continuing.
        fetch: waits for the updates and returns their metrics: a list per update of Metrics per replicate.
    """

    steps: range
    state: TrainState
    fetch: Callable[[], list[list[Metrics]]]


def run_steps(
    train_step,
    layout: Layout,
    state: TrainState,
    batches: Iterator[Examples],
    start: int,
    stop: int,
    in_call: int = 1,
    ends: Sequence[int] = (),
) -> Iterator[Call]:
    """Makes the updates start + 1 ... stop of all replicates, and yields each call after dispatching it.

    A call makes up to `in_call` updates on consecutive batches of one length, and ends after a step that is a
    multiple of a number in `ends`. The first call makes one update, so that a caller who measures speed can
    leave out the time of compiling. A caller that fetches metrics one call late never makes a device wait. At
    most two calls are under way; the CPU's collectives would time out behind a longer queue.

    Args:
        train_step: the result of `make_train_step`.
        layout: the layout of the replicates.
        state: the states after step `start`, on devices; donated.
        batches: the batches from step `start` on, `[rows, length]` or `[replicates, rows, length]`.
        start, stop: the first update is start + 1, the last one stop.
        in_call: the largest number of updates in a call.
        ends: periods in steps.
    """
    under_way = collections.deque()
    for steps, of_call in _calls(batches, start, stop, in_call, ends):
        padded = [*of_call, *of_call[:1] * (in_call - len(of_call))]  # to the shape that is compiled
        state, metrics = train_step(state, layout.shard(padded), len(steps))
        under_way.append(metrics)
        yield Call(steps, state, lambda steps=steps, metrics=metrics: _by_update(layout, metrics, len(steps)))
        if len(under_way) > 1:
            jax.block_until_ready(under_way.popleft())


def _calls(batches: Iterator[Examples], start: int, stop: int, in_call: int, ends: Sequence[int]):
    """Divides the batches of the updates start + 1 ... stop into calls; yields their steps and batches."""
    done, of_call = start, []
    for step in range(start + 1, stop + 1):
        batch = next(batches)
        if of_call and batch.tokens.shape != of_call[0].tokens.shape:
            yield range(done + 1, step), of_call
            done, of_call = step - 1, []
        of_call.append(batch)
        full = len(of_call) == in_call or step in (start + 1, stop)
        if full or any(step % period == 0 for period in ends):
            yield range(done + 1, step + 1), of_call
            done, of_call = step, []


def _by_update(layout: Layout, metrics: Metrics, count: int) -> list[list[Metrics]]:
    of_replicates = layout.to_host(metrics)
    return [[Metrics(*(x[i] for x in of_one)) for of_one in of_replicates] for i in range(count)]


_MOST_IN_CALL = 32
# Arithmetic of a call on one device: a tenth of a second of a core, or half a second if the model is narrow.
_FLOPS_IN_CALL_OF_CPU, _FLOPS_IN_CALL = 5e9, 5e11


def updates_in_call(config: TrainConfig, model: ModelConfig, num_params: int) -> int:
    """How many updates to make in one call: so many that calls cost little, and a signal is answered soon.

    This depends on sizes alone, so that all hosts divide a run into the same calls.

    Args:
        config, model: the configurations of training and of the model.
        num_params: number of parameters of the model.

    Returns:
        A number from 1 to 32.
    """
    tokens = config.num_replicates * config.batch_size * model.max_length
    # For each token a multiply-add per parameter and, at most, per number of the keys.
    flops = 6 * (num_params + model.num_layers * model.max_length * model.dim) * tokens
    at_once = _FLOPS_IN_CALL_OF_CPU if jax.default_backend() == 'cpu' else _FLOPS_IN_CALL
    return int(min(max(at_once * jax.device_count() / flops, 1), _MOST_IN_CALL))


def check_finite(step: int, metrics: Metrics) -> None:
    """Raises DivergedError, naming the step, if the loss or the gradient's norm is not finite."""
    if not (np.isfinite(metrics.loss) and np.isfinite(metrics.grad_norm)):
        raise DivergedError(
            f'the loss is {metrics.loss} and the norm of its gradient {metrics.grad_norm} at step {step}; '
            'a lower learning_rate or clip_norm, or a longer warmup, may help'
        )
