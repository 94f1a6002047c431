"""Attention mechanisms as tuples of pure functions; `mechanism.Mechanism` is the contract."""

from collections.abc import Callable, Mapping
from typing import Any

from effxf_jax import registry
from effxf_jax.attention.block_routing import block_routing
from effxf_jax.attention.convolution import convolved
from effxf_jax.attention.delta import delta
from effxf_jax.attention.gated_linear import gated_linear
from effxf_jax.attention.linear import linear
from effxf_jax.attention.lsh import lsh
from effxf_jax.attention.mechanism import QKV, Cost, Mechanism, Memory, Parameter, Projection
from effxf_jax.attention.sliding_window import sliding_window
from effxf_jax.attention.sparse import sparse
from effxf_jax.attention.standard import standard

MECHANISMS = {
    'standard': standard,
    'sparse': sparse,
    'sliding_window': sliding_window,
    'linear': linear,
    'gated_linear': gated_linear,
    'delta': delta,
    'block_routing': block_routing,
    'lsh': lsh,
}
"""The factory of each mechanism, by name. A new mechanism is one file with a factory, whose signature
declares the options, and one row here."""

VARIANTS = {
    'standard': ('standard', {}),
    'sparse': ('sparse', {'pattern': 'fixed'}),
    'sparse, strided': ('sparse', {'pattern': 'strided', 'summary_size': 1}),
}
"""Variants of a mechanism that tables list separately: the mechanism's name and its options, by title."""

__all__ = [
    'MECHANISMS',
    'QKV',
    'Cost',
    'Mechanism',
    'Memory',
    'Parameter',
    'Projection',
    'block_routing',
    'convolved',
    'delta',
    'factories',
    'gated_linear',
    'linear',
    'lsh',
    'make',
    'option_values',
    'options',
    'parse',
    'sliding_window',
    'span_options',
    'sparse',
    'standard',
    'variants',
]


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """The VARIANTS, and every other mechanism with its defaults: name and options, by title."""
    return VARIANTS | {name: (name, {}) for name in MECHANISMS if name not in VARIANTS}


def parse(mechanisms: str) -> tuple[str, ...]:
    """Splits a mixture such as `'linear+linear+standard'` into the names of its mechanisms.

    Raises:
        ValueError: naming every mechanism that is not in MECHANISMS.
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


def factories(mechanisms: str) -> dict[str, Callable[..., Mechanism]]:
    """The factories of a mixture's mechanisms, by name.

    Raises:
        ValueError: see `parse`.
    """
    return {name: MECHANISMS[name] for name in parse(mechanisms)}


def options() -> dict[str, registry.Option]:
    """The options of all mechanisms, by option name."""
    return registry.merged_options(MECHANISMS)


def span_options() -> tuple[str, ...]:
    """The options of all mechanisms that set the size of a block or a window."""
    made = (make(name)[0] for name in MECHANISMS)
    return tuple(dict.fromkeys(mechanism.span for mechanism in made if mechanism.span))


def option_values(mechanisms: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each option that a mixture's mechanisms have: the given value, or else the default.

    Args:
        mechanisms: the name of one mechanism, or several joined by `+`.
        given: values by option name.

    Raises:
        ValueError: an unknown mechanism, or a given option that none of the mechanisms has.
    """
    return registry.option_values(f'mechanism {mechanisms!r}', factories(mechanisms), given)


def make(mechanisms: str, given: Mapping[str, Any] | None = None) -> tuple[Mechanism, ...]:
    """Makes the mechanisms of a mixture, in its order.

    Args:
        mechanisms: the name of one mechanism, or several joined by `+`.
        given: values by option name; a value applies to every mechanism that declares the option.

    Raises:
        ValueError: an unknown mechanism, an option that no mechanism of the mixture has, or an invalid value.
    """
    values = option_values(mechanisms, given or {})

    def make_one(name: str) -> Mechanism:
        known = registry.options(MECHANISMS[name])
        return MECHANISMS[name](**{key: value for key, value in values.items() if key in known})

    return tuple(make_one(name) for name in parse(mechanisms))
