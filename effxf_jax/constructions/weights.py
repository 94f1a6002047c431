"""A construction as the weights that a run begins with, exact or with noise."""

import dataclasses
from typing import Any

import jax
import numpy as np

from effxf_jax.constructions import catalogue
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.model import ModelConfig, roles
from effxf_jax.tasks import Task


def check(task: Task, model: ModelConfig, name: str) -> None:
    """Checks that a model can begin with a construction's weights.

    Raises:
        ConstructionError: there is no such construction of the task, it does not fit into the model's width
            or heads, or the model differs from the construction's in other ways; the message names them.
    """
    made = catalogue.model_config(task, name, model.num_heads, model.dim)
    differing = [f.name for f in dataclasses.fields(model) if getattr(model, f.name) != getattr(made, f.name)]
    if differing:
        needed = ', '.join(f'{field}={getattr(made, field)}' for field in differing)
        given = ', '.join(str(getattr(model, field)) for field in differing)
        raise ConstructionError(f'the construction {name} is for a model with {needed}; got {given}')


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
    check(task, model, name)
    exact = catalogue.build(task, name, model.num_heads, model.dim).params
    if not noise:
        return exact
    rng = np.random.default_rng(seed)

    def disturbed(role, weights):
        if not (role.matrices or role.is_head):
            return weights
        return (weights * (1 + noise * rng.standard_normal(weights.shape))).astype(weights.dtype)

    return jax.tree.map(disturbed, roles(model)(exact), exact)
