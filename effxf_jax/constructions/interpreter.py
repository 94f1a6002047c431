"""Runs a program exactly: the oracle of the compiled model."""

from typing import NamedTuple

import numpy as np

from effxf_jax.constructions.program import ConstructionError, Expression, Lookup, OneHot, Program, Register


class Trace(NamedTuple):
    """What a program computes for one sequence.

    Attributes:
        registers: float64 `[length]`, by register.
        logits: float64 `[length, vocabulary_size]`; -inf for tokens that are never written.
        corner: how close the argument of a ReLU comes to zero without being zero; the compiled model's GELU
            is a ReLU only at some distance from it.
    """

    registers: dict[Register, np.ndarray]
    logits: np.ndarray
    corner: float


def run(program: Program, tokens: np.ndarray, visible: np.ndarray) -> Trace:
    """Runs a program.

    Args:
        program: the program.
        tokens: the sequence, int `[length]`.
        visible: bool `[length, length]`, which positions s attention at position t sees, `[t, s]`.

    Raises:
        ConstructionError: a lookup by `Digits` finds no visible position; the message names it and where.
    """
    length = len(tokens)
    state = {register: values[tokens] for register, values in program.tokens.items()}
    state |= {register: values[:length] for register, values in program.positions.items()}
    corner = np.inf
    for layer in program.layers:
        found = {}
        for lookup in layer.lookups:
            weights = _weights(lookup, state, visible, layer.number)
            for target, value in zip(lookup.targets, lookup.values, strict=True):
                found[target] = lookup.factor * (weights @ _affine(value, state, length))
        state |= found
        updated = {}
        for register, value in layer.updates:
            total = _affine(value, state, length)
            for weight, argument in value.units:
                inner = _affine(argument, state, length)
                away = np.abs(inner)[np.abs(inner) > 1e-9]
                corner = min(corner, away.min(initial=np.inf))
                total = total + weight * np.maximum(inner, 0)
            updated[register] = total
        state |= updated
    logits = np.full((length, program.vocabulary_size), -np.inf)
    for token, score in program.logits.items():
        logits[:, token] = _affine(score, state, length)
    return Trace(state, logits, float(corner))


def _weights(lookup: Lookup, state, visible: np.ndarray, layer: int) -> np.ndarray:
    """The weights of a head, float64 `[length, length]`: equal for all positions that it finds."""
    query, key = (np.stack([state[r] for r in a.registers], axis=-1) for a in (lookup.query, lookup.key))
    is_one_hot = isinstance(lookup.key.code, OneHot)
    found = np.abs(query[:, None] - key[None]).max(axis=-1) < 1e-6
    if is_one_hot:  # a zero vector is no address
        found = (found | ~query.any(axis=-1)[:, None]) & key.any(axis=-1)
    found &= visible
    if lookup.age is not None:
        age = np.where(found, state[lookup.age], np.inf)
        found &= age == age.min(axis=1, keepdims=True)
    counts = found.sum(axis=1)
    if not is_one_hot and not counts.all():
        names = ', '.join(target.name for target in lookup.targets[:3])
        position = int(np.argmin(counts))
        raise ConstructionError(f'layer {layer}: the lookup of {names} finds nothing at position {position}')
    return found / np.maximum(counts, 1)[:, None]


def _affine(value: Expression, state, length: int) -> np.ndarray:
    return sum((weight * state[r] for r, weight in value.weights.items()), np.full(length, value.constant))
