"""Runs a program exactly: the oracle of the compiled model."""

from typing import NamedTuple

import numpy as np

from effxf_jax.constructions.program import (
    ConstructionError,
    Expression,
    Lookup,
    Overlap,
    Program,
    Recall,
    Register,
    Search,
)


class Trace(NamedTuple):
    """What a program computes for one sequence.

    Attributes:
        registers: float64 `[length]`, by register.
        logits: float64 `[length, vocabulary_size]`; -inf for tokens that are never written.
        corner: how close the argument of a ReLU comes to zero without being zero, float64 `[length]`; the
            compiled model's GELU is a ReLU only at some distance from it.
    """

    registers: dict[Register, np.ndarray]
    logits: np.ndarray
    corner: np.ndarray


def run(program: Program, tokens: np.ndarray, visible: np.ndarray) -> Trace:
    """Runs a program.

    Args:
        program: the program.
        tokens: the sequence, int `[length]`.
        visible: bool `[length, length]`, which positions s attention at position t sees, `[t, s]`.

    Raises:
        ConstructionError: softmax attention finds no match; the message names what it reads and where.
    """
    length = len(tokens)
    state = {register: values[tokens] for register, values in program.tokens.items()}
    state |= {register: values[:length] for register, values in program.positions.items()}
    corner = np.full(length, np.inf)
    for layer in program.layers:
        found = {}
        for head in layer.heads:
            if isinstance(head, Recall):
                found |= dict(zip(head.targets, _recalled(head, state, length).T, strict=True))
                continue
            if isinstance(head, Search):
                seen = _largest(head, state, visible, layer.number).astype(float)
                if head.share is not None:
                    seen *= np.exp(_affine(head.share, state, length))
            elif isinstance(head, Overlap):
                seen = _shared(head, state, visible)
            else:
                seen = _matching(head, state, visible)
            total = seen.sum(axis=1, keepdims=True)
            weights = head.factor * np.divide(seen, total, out=np.zeros(visible.shape), where=total > 0)
            for target, value in zip(head.targets, head.values, strict=True):
                found[target] = weights @ _affine(value, state, length)
        state |= found
        updated = {}
        for register, value in layer.updates:
            total = _affine(value, state, length)
            for weight, argument in value.units:
                inner = _affine(argument, state, length)
                corner = np.minimum(corner, np.where(np.abs(inner) > 1e-9, np.abs(inner), np.inf))
                total = total + weight * np.maximum(inner, 0)
            updated[register] = total
        state |= updated
    logits = np.full((length, program.vocabulary_size), -np.inf)
    for token, score in program.logits.items():
        logits[:, token] = _affine(score, state, length)
    return Trace(state, logits, corner)


def _largest(head: Search, state, visible: np.ndarray, layer: int) -> np.ndarray:
    """Which positions have the largest score, bool `[length, length]`."""
    query, key = _sides(head, state, len(visible))
    scores = np.where(visible, query @ key.T, -np.inf)
    largest = scores.max(axis=1, keepdims=True)
    if head.match is not None and (largest < head.match).any():
        names = ', '.join(target.name for target in head.targets[:3])
        position = int(np.argmax(largest[:, 0] < head.match))
        raise ConstructionError(f'layer {layer}: the lookup of {names} finds nothing at position {position}')
    return scores > largest - head.gap / 2


def _shared(head: Overlap, state, visible: np.ndarray) -> np.ndarray:
    """How many features a position read shares with the one that reads, `[length, length]`."""
    query, key = (side < 0.5 for side in _sides(head, state, len(visible)))
    return (query.astype(int) @ key.T) * visible


def _recalled(head: Recall, state, length: int) -> np.ndarray:
    """What the delta rule reads at every position, `[length, values]`."""
    query, key = (np.round(side) for side in _sides(head, state, length))
    writes = _affine(head.idle, state, length) < 0.5
    values = np.stack([_affine(value, state, length) for value in head.values], axis=-1)
    table, filled = np.zeros((key.shape[1], values.shape[1])), np.zeros(key.shape[1])
    read = np.zeros((length, values.shape[1]))
    for t in range(length):
        if writes[t]:
            table[key[t] > 0], filled[key[t] > 0] = values[t], 1
        rows = query[t] @ filled
        read[t] = head.rows / rows * (query[t] @ table) if rows else 0
    return read


def _sides(head: Search | Overlap | Recall, state, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The query and the key at every position, `[length, parts]`."""
    query, key = (
        np.stack([_affine(part, state, length) for part in parts], axis=-1)
        for parts in (head.query, head.key)
    )
    return query, key


def _matching(head: Lookup, state, visible: np.ndarray) -> np.ndarray:
    """Which positions have the query as their key, bool `[length, length]`; the zero vector is no address."""
    query, key = (np.stack([state[r] for r in a.registers], axis=-1) for a in (head.query, head.key))
    found = np.abs(query[:, None] - key[None]).max(axis=-1) < 1e-6
    found = (found | ~query.any(axis=-1)[:, None]) & key.any(axis=-1) & visible
    if head.age is not None:
        age = np.where(found, state[head.age], np.inf)
        found &= age == age.min(axis=1, keepdims=True)
    return found


def _affine(value: Expression, state, length: int) -> np.ndarray:
    return sum((weight * state[r] for r, weight in value.weights.items()), np.full(length, value.constant))
