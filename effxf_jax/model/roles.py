"""What a parameter is in the Transformer, for optimisers that treat parameters differently."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from effxf_jax.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Role:
    """What an optimiser may know of a parameter.

    Attributes:
        decays: whether weight decay applies to it.
        matrices: how many matrices from hidden features to hidden features it holds, side by side along its
            last axis: 3 in the kernel of queries, keys and values; 0 for an embedding, the head, a bias, a
            LayerNorm's scale and a mechanism's own parameters.
        is_head: whether it is the matrix from the residual stream to the logits.
    """

    decays: bool
    matrices: int = 0
    is_head: bool = False


def roles(config: ModelConfig) -> Callable[[Any], Any]:
    """The role of each parameter: returns `params -> tree of Role`.

    Weight decay applies to matrices and embeddings. It does not apply to biases and LayerNorm. Of a
    mechanism's projections and parameters each declares for itself whether it decays.
    """
    declared = {
        (f'blocks_{layer}', part.name): part
        for layer, mechanism in enumerate(config.mechanisms())
        for part in (*mechanism.projections, *mechanism.parameters)
    }

    def role(path, _) -> Role:
        names = tuple(key.key for key in path)
        part = declared.get(names[:2])
        if part and len(names) == 2:  # a mechanism's own parameter
            return Role(part.decays)
        if names[-1] != 'kernel':
            return Role(decays=names[-1] in ('embedding', 'positions'))
        if names[0] == 'head':
            return Role(decays=True, is_head=True)
        return Role(part.decays, part.count) if part else Role(decays=True, matrices=1)

    return lambda params: jax.tree.map_with_path(role, params)
