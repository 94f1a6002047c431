"""Training in one call, for programs that need no run directory."""

from typing import Any

import jax
import numpy as np

from effxf_jax.data.pipeline import Stream, train_batches
from effxf_jax.data.sources import Source
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.training.calls import Call, check_finite, run_steps, updates_in_call
from effxf_jax.training.config import TrainConfig, make_optimizer
from effxf_jax.training.layout import Layout
from effxf_jax.training.step import init_state, make_train_step


def fit(model: ModelConfig, config: TrainConfig, source: Source, seed: int = 0) -> Any:
    """Trains a model on a source's examples, on all devices of this host.

    The losses are those of a run with the same settings and seed (`runs.run.run`), which also saves, resumes
    and grades.

    Args:
        model: the configuration of the Transformer.
        config: the training configuration; `num_replicates` must be 1.
        source: the examples.
        seed: the seed of the parameters, of dropout and of the order of a finite source's examples.

    Returns:
        The parameters after the last update, as numpy arrays.

    Raises:
        ValueError: more than one replicate, or a batch that is not divisible by the number of devices.
        DivergedError: the loss or its gradient is not finite; the message names the step.
    """
    if config.num_replicates != 1:
        raise ValueError(f'fit requires num_replicates 1; got {config.num_replicates}')
    transformer, optimizer, layout = Transformer(model), make_optimizer(config, model), Layout()
    state = jax.tree.map(np.asarray, init_state(transformer, optimizer, seed))
    num_params = sum(x.size for x in jax.tree.leaves(state.params))
    calls = run_steps(
        make_train_step(transformer, optimizer, [seed]),
        layout,
        layout.to_devices([state]),
        train_batches(Stream(source, seed), config.batch_size),
        start=0,
        stop=config.steps,
        in_call=updates_in_call(config, model, num_params),
    )
    last = None
    for call in calls:
        if last:  # one call late, so that the devices never wait for the host
            _check(last)
        last = call
    if not last:
        return state.params
    _check(last)
    return layout.to_host(last.state)[0].params


def _check(call: Call) -> None:
    for step, (metrics,) in zip(call.steps, call.fetch(), strict=True):
        check_finite(step, metrics)
