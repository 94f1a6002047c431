"""Numbers modulo a prime."""

import numpy as np

LARGEST_MODULUS = 113
"""The largest prime whose residues fit an int8 as token ids too."""


def modulus_problems(modulus: int) -> list[str]:
    """What is wrong with a modulus, as messages; empty for a valid one."""
    if 2 <= modulus <= LARGEST_MODULUS and all(modulus % d for d in range(2, modulus)):
        return []
    return [f'modulus must be a prime from 2 to {LARGEST_MODULUS}; got {modulus}']


def inverses(modulus: int) -> np.ndarray:
    """The inverse of every residue, int16 `[modulus]`; the entry for 0, which has no inverse, is 0."""
    return np.array([0] + [pow(x, -1, modulus) for x in range(1, modulus)], np.int16)
