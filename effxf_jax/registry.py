"""Tables of factories by name: of mechanisms, of tasks, of optimisers.

A factory's signature is the one place that declares its options, their defaults and their types;
configurations, messages and the names of runs are derived from it.
"""

import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

REQUIRED = inspect.Parameter.empty
"""The default of an option that has none and must be given."""


class Option(NamedTuple):
    """An option of a factory.

    Attributes:
        name: the name of the factory's parameter.
        default: the value if none is given, or REQUIRED.
        type: the type of its values, None aside.
    """

    name: str
    default: Any
    type: type


@functools.cache  # reading a signature takes long beside its uses
def options(factory: Callable) -> Mapping[str, Option]:
    """A factory's options by name, in the order of its signature."""
    return types.MappingProxyType(
        {
            name: Option(name, parameter.default, _without_none(parameter.annotation))
            for name, parameter in inspect.signature(factory).parameters.items()
        }
    )


def defaults(factory: Callable) -> dict[str, Any]:
    """The default values, by name, of the options that have one."""
    return {name: o.default for name, o in options(factory).items() if o.default is not REQUIRED}


def find(kind: str, name: str, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Resolves a name or an alias to a name of a table.

    Args:
        kind: what the table holds, for the message: 'task'.
        name: the name or alias to resolve.
        names: the names of the table.
        aliases: the table's name for each alias.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    names, aliases = list(names), aliases or {}
    name = aliases.get(name, name)
    if name not in names:
        raise ValueError(f'unknown {kind} {name!r}; {suggestion(name, [*names, *aliases], sorted(names))}')
    return name


def suggestion(name: str, known: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """A hint after an unknown name: the nearest known name or, if none is near, the names in `shown`."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    if near:
        return f'did you mean {near[0]}?'
    return f'expected one of {", ".join(known if shown is None else shown)}'


def option_values(title: str, factories: Iterable[Callable], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each option that some factories have: the given value, or else the default.

    Args:
        title: what the factories make, for messages: "mechanism 'linear+standard'".
        factories: the factories; the first one that declares an option determines its default.
        given: values by option name.

    Raises:
        ValueError: naming every given option that none of the factories has.
    """
    known: dict[str, Any] = {}
    for factory in factories:
        known = defaults(factory) | known
    problems = [
        f'{name} is not an option of {title} (options: {", ".join(known) or "none"}); got {name}={value!r}'
        for name, value in given.items()
        if name not in known
    ]
    if problems:
        raise ValueError('\n'.join(problems))
    return known | dict(given)


def _without_none(hint: Any) -> type:
    """Strips None and parameters from a type: `int` for `int | None`, `tuple` for `tuple[int, ...]`."""
    if isinstance(hint, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return _without_none(parts[0]) if len(parts) == 1 else object
    return typing.get_origin(hint) or hint
