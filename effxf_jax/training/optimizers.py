"""Optimisers by name.

An optimiser's factory takes and checks its options. It returns a function that makes an optax transformation,
given the learning rate by update and the roles of the parameters.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from effxf_jax import registry

Roles = Callable[[optax.Params], Any]
"""`params -> tree of Role`: the role of each parameter, as `model.roles` makes it."""

Optimizer = Callable[[optax.Schedule, Roles], optax.GradientTransformation]


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
    _check(weight_decay, beta1=beta1, beta2=beta2)
    return lambda learning_rate, roles: optax.adamw(
        learning_rate, b1=beta1, b2=beta2, weight_decay=weight_decay, mask=_decayed(roles)
    )


REFERENCE_DIM = 64
"""The width at which the learning rates of `muon` have the same meaning under every `transfer`."""

_SCALES = ('spectral', 'rms')
_TRANSFERS = ('flat', 'head', 'adam')
_RMS = 0.2

# Five steps of Newton and Schulz's iteration with Jordan's coefficients. One tuple a step makes optax run
# them as a loop, which compiles faster and, on a CPU, runs faster.
_NEWTON_SCHULZ = 5 * ((3.4445, -4.7750, 2.0315),)


def muon(
    weight_decay: float = 0.01,
    momentum: float = 0.95,
    adam_ratio: float = 0.4,
    beta1: float = 0.9,
    beta2: float = 0.999,
    scale: str = 'spectral',
    transfer: str = 'head',
    separate: bool = True,
) -> Optimizer:
    """Muon for the matrices of the layers, AdamW for all other parameters (Jordan et al. 2024).

    Muon replaces a matrix's gradient, averaged with Nesterov momentum, by a matrix with the same singular
    vectors whose singular values are all near 1. Embeddings, the head, biases, LayerNorm and a mechanism's
    own parameters are updated by AdamW with Nesterov momentum, without weight decay.

    Args:
        weight_decay: an update also multiplies a matrix of the layers by 1 - learning_rate * weight_decay,
            if it decays.
        momentum: decay rate of Muon's running average of the gradient.
        adam_ratio: AdamW's learning rate, divided by Muon's.
        beta1, beta2: AdamW's decay rates of the running averages of the gradient and of its square.
        scale: the size of Muon's update of a matrix with `rows` inputs and `columns` outputs, before the
            learning rate. 'spectral': its singular values are near sqrt(max(1, columns / rows)) (Jordan et
            al. 2024); 'rms': the root mean square of its elements is near 0.2, as AdamW's usually is (Liu et
            al. 2025, arXiv 2502.16982, section 2.2).
        transfer: which of AdamW's learning rates are multiplied by 64 / width: none, 'flat'; that of the
            'head'; or all, 'adam'.
        separate: orthogonalise queries, keys and values as three matrices; otherwise as the one that they are
            projected by.

    Raises:
        ValueError: naming every value that is out of range.
    """
    problems = [f'adam_ratio must be above 0; got {adam_ratio}'] if not adam_ratio > 0 else []
    for name, value, known in (('scale', scale, _SCALES), ('transfer', transfer, _TRANSFERS)):
        if value not in known:
            problems.append(f'{name} must be one of {", ".join(known)}; got {value!r}')
    _check(weight_decay, problems, momentum=momentum, beta1=beta1, beta2=beta2)

    def make(learning_rate: optax.Schedule, roles: Roles) -> optax.GradientTransformation:
        stacked = functools.partial(_stacked, roles, separate)
        on_stacks = contrib.muon(
            learning_rate,
            ns_coeffs=_NEWTON_SCHULZ,
            beta=momentum,
            weight_decay=weight_decay,
            weight_decay_mask=_Stacks(True, False, False),
            adam_b1=beta1,
            adam_b2=beta2,
            adam_learning_rate=lambda count: adam_ratio * learning_rate(count),
            muon_weight_dimension_numbers=_dimension_numbers,
            consistent_rms=_RMS if scale == 'rms' else None,
        )

        def update(updates, state, params):
            updated, state = on_stacks.update(stacked(updates), state, stacked(params))
            # Stacking permutes the numbers, so its transpose undoes it.
            (updated,) = jax.linear_transpose(stacked, updates)(updated)
            return updated, state

        optimizer = optax.GradientTransformation(lambda params: on_stacks.init(stacked(params)), update)
        return optax.chain(optimizer, _scale_by_width(transfer, roles))

    return make


class _Stacks(NamedTuple):
    """The arrays of a tree, with the layers' matrices stacked, so that those of one shape are one batch.

    Attributes:
        decaying, kept: the matrices that weight decay applies to, and those that it does not apply to:
            `[count, rows, columns]` by shape.
        others: the other arrays.
    """

    decaying: dict[str, Any]
    kept: dict[str, Any]
    others: list[Any]


def _stacked(roles: Roles, separate: bool, tree: Any) -> _Stacks:
    stacks = _Stacks({}, {}, [])
    for role, x in zip(jax.tree.leaves(roles(tree)), jax.tree.leaves(tree), strict=True):
        if not role.matrices:
            stacks.others.append(x)
            continue
        matrices = x.reshape(len(x), role.matrices if separate else 1, -1).swapaxes(0, 1)
        _, rows, columns = matrices.shape
        of_decay = stacks.decaying if role.decays else stacks.kept
        of_decay.setdefault(f'{rows}x{columns}', []).append(matrices)
    concatenated = [{shape: jnp.concatenate(x) for shape, x in part.items()} for part in stacks[:2]]
    return _Stacks(*concatenated, stacks.others)


def _dimension_numbers(stacks: _Stacks) -> _Stacks:
    """Which axes of a stack are a matrix's rows and columns; None for arrays that are not Muon's."""
    matrix = contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    of_matrices = (dict.fromkeys(part, matrix) for part in stacks[:2])
    return _Stacks(*of_matrices, [None] * len(stacks.others))


def _scale_by_width(transfer: str, roles: Roles) -> optax.GradientTransformation:
    """Multiplies AdamW's updates that `transfer` names by REFERENCE_DIM / width."""

    def scale(updates, params):
        kinds = roles(params)
        leaves = zip(jax.tree.leaves(kinds), jax.tree.leaves(params), strict=True)
        factor = REFERENCE_DIM / next(len(x) for role, x in leaves if role.is_head)
        chosen = lambda role: role.is_head or (transfer == 'adam' and not role.matrices)
        return jax.tree.map(lambda role, x: x * factor if chosen(role) else x, kinds, updates)

    return optax.identity() if transfer == 'flat' else optax.stateless(scale)


def _decayed(roles: Roles) -> Callable[[optax.Params], Any]:
    return lambda params: jax.tree.map(lambda role: role.decays, roles(params))


def _check(weight_decay: float, problems: Sequence[str] = (), **decay_rates: float) -> None:
    """Raises ValueError, naming all problems: those given, and every value that is out of range."""
    problems = [*problems]
    problems += [f'{n} must be in [0, 1); got {rate}' for n, rate in decay_rates.items() if not 0 <= rate < 1]
    if not weight_decay >= 0:
        problems.append(f'weight_decay must be at least 0; got {weight_decay}')
    if problems:
        raise ValueError('\n'.join(problems))


OPTIMIZERS = {'adamw': adamw, 'muon': muon}
"""The factory of each optimiser, by name. A new optimiser is one function, whose signature declares its
options, and one row here."""


def factories(name: str) -> dict[str, Callable[..., Optimizer]]:
    """The factory of an optimiser by its name: the table that its options come from.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    name = registry.find('optimizer', name, OPTIMIZERS)
    return {name: OPTIMIZERS[name]}
