"""A construction as the weights that a run begins with, exact or with noise."""

from typing import Any

import jax
import numpy as np

from effxf_jax.constructions import catalogue
from effxf_jax.constructions.compiler import Compiled
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.model import ModelConfig, roles
from effxf_jax.tasks import Task

_MADE = (
    'dim',
    'num_heads',
    'num_layers',
    'mechanism',
    'options',
    'positions',
    'conv_size',
    'dtype',
    'dropout',
)


def check(task: Task, model: ModelConfig, name: str) -> None:
    """Checks that a model can begin with a construction's weights.

    Raises:
        ConstructionError: there is no such construction of the task, it does not fit into the model's width
            or heads, or the model differs from the construction's in other ways; the message names them.
    """
    _compiled(task, model, name)


def params(task: Task, model: ModelConfig, name: str, noise: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """The parameters that a model begins with.

    Args:
        task, model, name: see `check`.
        noise: every weight of the layers' matrices and of the head is multiplied by 1 + noise * z, with a
            standard normal z of its own. Weights of 0 stay 0; embeddings, positions, biases and LayerNorm
            are exact.
        seed: the seed of the noise.

    Raises:
        ConstructionError: see `check`.
    """
    exact = _compiled(task, model, name).params
    if not noise:
        return exact
    rng = np.random.default_rng(seed)

    def disturbed(role, weights):
        if not (role.matrices or role.is_head):
            return weights
        return (weights * (1 + noise * rng.standard_normal(weights.shape))).astype(weights.dtype)

    return jax.tree.map(disturbed, roles(model)(exact), exact)


def _compiled(task: Task, model: ModelConfig, name: str) -> Compiled:
    compiled = catalogue.build(task, name, model.num_heads, model.dim)
    made = compiled.config
    differing = [field for field in _MADE if getattr(model, field) != getattr(made, field)]
    if differing:
        needed = ', '.join(f'{field}={getattr(made, field)}' for field in differing)
        given = ', '.join(str(getattr(model, field)) for field in differing)
        raise ConstructionError(f'the construction {name} is for a model with {needed}; got {given}')
    return compiled
