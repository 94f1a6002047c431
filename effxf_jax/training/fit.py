"""Training in one call, for programs that need no run directory."""

from typing import Any

from effxf_jax.data.pipeline import Stream, train_batches
from effxf_jax.data.sources import Source
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.training.config import TrainConfig, make_optimizer
from effxf_jax.training.layout import Layout
from effxf_jax.training.step import check_finite, init_state, make_train_step, run_steps


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
    updates = run_steps(
        make_train_step(transformer, optimizer, [seed]),
        layout,
        layout.to_devices([init_state(transformer, optimizer, seed)]),
        train_batches(Stream(source, seed), config.batch_size),
        start=0,
        stop=config.steps,
    )
    fetch = None
    for step, states, fetch_next in updates:
        if fetch:  # one step late, so that the devices never wait for the host
            check_finite(step - 1, fetch()[0])
        after, fetch = states, fetch_next
    check_finite(config.steps, fetch()[0])
    return layout.to_host(after)[0].params
