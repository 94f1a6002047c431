"""Attention mechanisms as values made of pure functions; `mechanism.Mechanism` is the contract."""

from collections.abc import Mapping
from typing import Any

from effxf_jax import registry
from effxf_jax.attention.linear import linear
from effxf_jax.attention.mechanism import QKV, Cost, Mechanism, Memory, Projection
from effxf_jax.attention.sliding_window import sliding_window
from effxf_jax.attention.sparse import sparse
from effxf_jax.attention.standard import standard

MECHANISMS = {'standard': standard, 'sparse': sparse, 'sliding_window': sliding_window, 'linear': linear}
"""Factories by name. A new mechanism is one file and one row here; its signature declares its options."""

VARIANTS = {
    'standard': ('standard', {}),
    'sparse': ('sparse', {'pattern': 'fixed'}),
    'sparse, strided': ('sparse', {'pattern': 'strided', 'summary_size': 1}),
}
"""Mechanisms and options by title, where tables show more than a mechanism with its defaults."""

__all__ = [
    'MECHANISMS',
    'QKV',
    'Cost',
    'Mechanism',
    'Memory',
    'Projection',
    'linear',
    'make',
    'option_values',
    'options',
    'parse',
    'sliding_window',
    'sparse',
    'standard',
    'variants',
]


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every mechanism, and the VARIANTS: names and options by title."""
    return VARIANTS | {name: (name, {}) for name in MECHANISMS if name not in VARIANTS}


def parse(mechanisms: str) -> tuple[str, ...]:
    """The names in a mixture such as `'linear+linear+standard'`.

    Raises:
        ValueError: a name is not in MECHANISMS.
    """
    names = mechanisms.split('+')
    problems = []
    for name in dict.fromkeys(names):
        try:
            registry.find('mechanism', name, MECHANISMS)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError('\n'.join(problems))
    return tuple(names)


def options() -> dict[str, registry.Option]:
    """Every option of every mechanism, by name."""
    return {
        name: option for factory in MECHANISMS.values() for name, option in registry.options(factory).items()
    }


def option_values(mechanisms: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a mixture's mechanisms have, with their values: those given, and defaults.

    Args:
        mechanisms: names joined by `+`.
        given: values by option.

    Raises:
        ValueError: an unknown mechanism, or a given option that none of the mechanisms has.
    """
    factories = [MECHANISMS[name] for name in parse(mechanisms)]
    return registry.option_values(f'mechanism {mechanisms!r}', factories, given)


def make(mechanisms: str, given: Mapping[str, Any] | None = None) -> tuple[Mechanism, ...]:
    """The mechanisms of a mixture, in its order.

    Args:
        mechanisms: names joined by `+`.
        given: values by option; an option goes to every mechanism that declares it.

    Raises:
        ValueError: an unknown name, an option that no mechanism of the mixture has, or a refused value.
    """
    given = given or {}
    option_values(mechanisms, given)

    def make_one(name: str) -> Mechanism:
        factory = MECHANISMS[name]
        known = registry.options(factory)
        return factory(**{key: value for key, value in given.items() if key in known})

    return tuple(make_one(name) for name in parse(mechanisms))
