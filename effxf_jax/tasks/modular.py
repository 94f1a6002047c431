"""Numbers modulo a prime."""

import numpy as np

LARGEST_MODULUS = 113
"""The largest prime whose numbers an int8 holds also as token ids."""


def modulus_problems(modulus: int) -> list[str]:
    """What is wrong with a modulus, if anything is."""
    if 2 <= modulus <= LARGEST_MODULUS and all(modulus % d for d in range(2, modulus)):
        return []
    return [f'modulus must be a prime from 2 to {LARGEST_MODULUS}; got {modulus}']


def inverses(modulus: int) -> np.ndarray:
    """The inverse of every number, int16 `[modulus]`; 0, which has none, at 0."""
    return np.array([0] + [pow(x, -1, modulus) for x in range(1, modulus)], np.int16)
