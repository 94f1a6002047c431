"""The paper's theorems on the width that a mechanism needs, as exponents of the sequence's length.

Yang et al. (2024), their table of results: how the needed width D grows with the length L, up to logarithms,
by the class of the dynamic programme and the mechanism.
"""

import math
from typing import NamedTuple

from effxf_jax.tasks import Task


class WidthExponent(NamedTuple):
    """The exponents x of D ~ L^x that the theorems allow.

    Attributes:
        text: the statement in words, `1/2` or `at most 1/2`.
        least, most: the smallest and the largest exponent allowed; infinite where there is no bound.
    """

    text: str
    least: float
    most: float


_NO_GROWTH = WidthExponent('0', 0.0, 0.0)
_HALF = WidthExponent('1/2', 0.5, 0.5)
_AT_MOST_HALF = WidthExponent('at most 1/2', -math.inf, 0.5)

WIDTH_EXPONENTS = {
    # Different inputs force different later states, and L = O(n): the lower bound of 1/2 holds.
    'regular': {'standard': _NO_GROWTH, 'linear': _HALF, 'sparse': _HALF},
    # The upper bound holds for any dynamic programme.
    'general': {'standard': _NO_GROWTH, 'linear': _AT_MOST_HALF, 'sparse': _AT_MOST_HALF},
    'arithmetic': {
        'standard': _NO_GROWTH,
        'linear': WidthExponent('1/4 or more (open)', 0.25, math.inf),
        'sparse': _NO_GROWTH,
    },
}
"""By `Task.dp_class`, then by mechanism."""


def width_exponent(task: type[Task] | Task, mechanism: str) -> WidthExponent | None:
    """What the paper proves of a mechanism, by name, on a task; None where it proves nothing."""
    return WIDTH_EXPONENTS.get(task.dp_class, {}).get(mechanism)
