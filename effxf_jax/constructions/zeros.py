"""Constructed weights are mostly zeros; what is multiplied by them can be left out.

A program uses few of the units of a layer, so whole rows and columns of its matrices are zero. Without them a
wide construction is graded several times faster, and writes the same.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

_READERS = {'expand': 'contract'}
"""Layers of a block whose outputs another one reads unit by unit: only what it reads is computed."""


@contextlib.contextmanager
def left_out(params: Mapping[str, Any]) -> Iterator[None]:
    """Within this context, a model that is traced leaves out the zeros of its linear layers.

    Args:
        params: the parameters with which the model will run. With others it would leave out more than zeros.
    """
    kernels = {path: np.asarray(layer['kernel']) != 0 for path, layer in _layers(params)}

    def multiply(following, args, kwargs, context):
        path, is_new = context.module.path, context.module.is_initializing()
        if context.method_name != '__call__' or path not in kernels or is_new:
            return following(*args, **kwargs)
        is_used = kernels[path]
        inputs = np.flatnonzero(is_used.any(axis=1))
        outputs = np.arange(is_used.shape[1])
        if reader := _READERS.get(path[-1]):
            outputs = np.flatnonzero(kernels[*path[:-1], reader].any(axis=1))
        written = outputs[is_used[:, outputs].any(axis=0)]
        (x,), own = args, context.module.variables['params']
        rows = x.reshape(-1, x.shape[-1])
        if path[-1] not in _READERS.values():  # otherwise the inputs are those already
            rows = rows[:, inputs]
        out = jnp.broadcast_to(own['bias'][outputs].astype(x.dtype), (len(rows), len(outputs)))
        if inputs.size and written.size:
            product = rows @ own['kernel'][inputs][:, written].astype(x.dtype)
            out = out.at[:, np.searchsorted(outputs, written)].add(product)
        return out.reshape(*x.shape[:-1], -1)

    with nn.intercept_methods(multiply):
        yield


def _layers(params: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, jax.Array]]]:
    """The linear layers among parameters, each by its path."""
    for name, inner in params.items():
        if isinstance(inner, Mapping):
            if set(inner) == {'kernel', 'bias'}:
                yield (name,), inner
            yield from (((name, *path), layer) for path, layer in _layers(inner))
