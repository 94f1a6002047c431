"""A lower bound on the memory that a run takes, so that one that cannot fit is refused before it begins."""

import os

import jax

from effxf_jax.data.blocks import BLOCK_SIZE
from effxf_jax.runs.experiment import Experiment
from effxf_jax.theory import complexity

_FLOAT32 = _INT32 = 4
# Parameters, gradients and first moments; AdamW keeps second moments beside these.
_COPIES = 3
_GIB = 2**30


class MemoryLimitError(ValueError):
    """A run needs more memory than there is."""


def check(experiment: Experiment, devices: int) -> None:
    """Checks that a run's least memory is there.

    Args:
        experiment: the experiment to run.
        devices: number of devices over all hosts, which share the batch.

    Raises:
        MemoryLimitError: it is not; the message names the parts and what there is.
    """
    examples, state, batch = least_bytes(experiment, devices)
    parts = f'the models and their training take {_gib(state)}, a batch takes {_gib(batch)}'
    host = f'a block of {BLOCK_SIZE:,} examples takes {_gib(examples)}'
    device = jax.local_devices()[0]
    if device.platform == 'cpu':
        limit, needed = host_bytes(), examples + jax.local_device_count() * (state + batch)
        where = f'this machine has {_gib(limit)} for {jax.local_device_count()} devices'
        if needed > limit:
            raise MemoryLimitError(f'memory: {parts} for each device, {host}; {where}')
        return
    limit = (device.memory_stats() or {}).get('bytes_limit')
    if limit is not None and state + batch > limit:
        raise MemoryLimitError(f'memory: {parts} for each device; it has {_gib(limit)}')
    if examples > host_bytes():
        raise MemoryLimitError(f'memory: {host}; this machine has {_gib(host_bytes())}')


def least_bytes(experiment: Experiment, devices: int) -> tuple[int, int, int]:
    """Lower bounds in bytes.

    Returns:
        For the examples that a host draws at once; and for each device, for the state of training and for
        its part of a batch, whose rows are taken to be half as long as the longest.
    """
    model, train = experiment.model, experiment.train
    examples = BLOCK_SIZE * model.max_length * _INT32
    state = _COPIES * _FLOAT32 * complexity.num_params(model) * train.num_replicates
    # The backward pass reads every layer's input and the logits.
    numbers = model.dim * model.num_layers + model.vocab_size
    batch = _FLOAT32 * (train.batch_size // devices) * (model.max_length // 2) * numbers
    return examples, state, batch


def host_bytes() -> int:
    """The bytes of memory of this machine."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _gib(count: int) -> str:
    return f'{count / _GIB:,.1f} GiB'
