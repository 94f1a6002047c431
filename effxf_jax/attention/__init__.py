"""Attention mechanisms as values made of pure functions; `mechanism.Mechanism` is the contract."""

import inspect

from effxf_jax.attention.linear import linear
from effxf_jax.attention.mechanism import Cost, Mechanism
from effxf_jax.attention.sliding_window import sliding_window
from effxf_jax.attention.sparse import sparse
from effxf_jax.attention.standard import standard

MECHANISMS = {'standard': standard, 'sparse': sparse, 'linear': linear, 'sliding_window': sliding_window}
"""Factories by name. A new mechanism is one file and one row here."""

__all__ = [
    'MECHANISMS',
    'Cost',
    'Mechanism',
    'linear',
    'make',
    'options',
    'parse',
    'sliding_window',
    'sparse',
    'standard',
]


def options() -> dict[str, object]:
    """Every option of every mechanism, with its default."""
    return {
        name: parameter.default
        for factory in MECHANISMS.values()
        for name, parameter in inspect.signature(factory).parameters.items()
    }


def parse(mechanisms: str) -> tuple[str, ...]:
    """The mechanisms' names in a text such as `'linear+linear+standard'`.

    Raises:
        ValueError: a name is not in MECHANISMS.
    """
    names = tuple(mechanisms.split('+'))
    unknown = [name for name in names if name not in MECHANISMS]
    if unknown:
        raise ValueError(
            f'unknown mechanism {", ".join(map(repr, unknown))} in {mechanisms!r}; '
            f'a mechanism is one of {sorted(MECHANISMS)}, or several joined by +'
        )
    return names


def make(mechanisms: str, **values) -> tuple[Mechanism, ...]:
    """The mechanisms that a text names, in its order.

    Args:
        mechanisms: names joined by `+`.
        **values: options by name; each mechanism takes those that it knows.

    Raises:
        ValueError: an unknown name, or a value that a mechanism refuses.
        TypeError: an option that no mechanism has.
    """
    unknown = sorted(set(values) - set(options()))
    if unknown:
        raise TypeError(f'no mechanism has the options {unknown}; there are {sorted(options())}')

    def make_one(name: str) -> Mechanism:
        factory = MECHANISMS[name]
        known = inspect.signature(factory).parameters
        return factory(**{key: value for key, value in values.items() if key in known})

    return tuple(make_one(name) for name in parse(mechanisms))
