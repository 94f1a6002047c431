"""Optimisers by name.

An optimiser's factory takes and checks its options. It returns a function that makes an optax transformation,
given the learning rate by update and the parameters that decay.
"""

from collections.abc import Callable
from typing import Any

import optax

from effxf_jax import registry

Decays = Callable[[optax.Params], Any]
"""`params -> tree of bool`: which parameters weight decay applies to."""

Optimizer = Callable[[optax.Schedule, Decays], optax.GradientTransformation]


def adamw(weight_decay: float = 0.01, beta1: float = 0.9, beta2: float = 0.999) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019, algorithm 2).

    The predecessor's torch AdamW decays all parameters except biases and LayerNorm weights [feng; its name
    test misses LayerNorm weights, which do not decay here, as intended there].

    Args:
        weight_decay: an update also multiplies a decaying parameter by 1 - learning_rate * weight_decay.
        beta1, beta2: decay rates of the running averages of the gradient and of its square.

    Raises:
        ValueError: naming every value that is out of range.
    """
    problems = [
        f'{name} must be in [0, 1); got {value}'
        for name, value in (('beta1', beta1), ('beta2', beta2))
        if not 0 <= value < 1
    ]
    if not weight_decay >= 0:
        problems.append(f'weight_decay must be at least 0; got {weight_decay}')
    if problems:
        raise ValueError('\n'.join(problems))
    return lambda learning_rate, decays: optax.adamw(
        learning_rate, b1=beta1, b2=beta2, weight_decay=weight_decay, mask=decays
    )


OPTIMIZERS = {'adamw': adamw}
"""The factory of each optimiser, by name. A new optimiser is one function, whose signature declares its
options, and one row here."""


def factories(name: str) -> dict[str, Callable[..., Optimizer]]:
    """The factory of an optimiser by its name: the table that its options come from.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    name = registry.find('optimizer', name, OPTIMIZERS)
    return {name: OPTIMIZERS[name]}
