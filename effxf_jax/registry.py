"""Tables of what is chosen by name: mechanisms, tasks, optimisers.

A table maps names to factories. A factory's signature declares its options, with their defaults and types, in
one place: configurations, messages and the names of runs are derived from it.
"""

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

REQUIRED = inspect.Parameter.empty
"""The default of an option that must be given."""


class Option(NamedTuple):
    """An option of a factory.

    Attributes:
        name: of the factory's parameter.
        default: its value where none is given; REQUIRED where one must be.
        type: of its values other than None.
    """

    name: str
    default: Any
    type: type


def options(factory: Callable) -> dict[str, Option]:
    """A factory's options by name, in their order."""
    return {
        name: Option(name, parameter.default, _without_none(parameter.annotation))
        for name, parameter in inspect.signature(factory).parameters.items()
    }


def defaults(factory: Callable) -> dict[str, Any]:
    """The options that need not be given, with their values."""
    return {name: o.default for name, o in options(factory).items() if o.default is not REQUIRED}


def find(kind: str, name: str, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """The name in a table that a given name means.

    Args:
        kind: what the table holds, for the message: 'task'.
        name: the given one.
        names: those of the table.
        aliases: other names that are accepted, with those that they stand for.

    Raises:
        ValueError: nothing has the name; the message suggests the nearest one.
    """
    names, aliases = list(names), aliases or {}
    name = aliases.get(name, name)
    if name not in names:
        raise ValueError(f'unknown {kind} {name!r}; {suggestion(name, [*names, *aliases], sorted(names))}')
    return name


def suggestion(name: str, known: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """The known name nearest to a wrong one; or, where none is near, all those to be shown."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f'did you mean {near[0]}?' if near else f'there are {", ".join(known if shown is None else shown)}'


def option_values(title: str, factories: Iterable[Callable], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that some factories have, with their values: those given, and defaults.

    Args:
        title: what the factories make, for messages: "mechanism 'linear+standard'".
        factories: the first to declare an option gives its default.
        given: values by option.

    Raises:
        ValueError: naming every given option that none of the factories has.
    """
    known: dict[str, Any] = {}
    for factory in factories:
        known = defaults(factory) | known
    problems = [
        f'{name} is not an option of {title}, which has {", ".join(known) or "none"}; got {name}={value!r}'
        for name, value in given.items()
        if name not in known
    ]
    if problems:
        raise ValueError('\n'.join(problems))
    return known | dict(given)


def _without_none(hint: Any) -> type:
    """`int` of `int | None`; the bare type of a generic one."""
    if isinstance(hint, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return _without_none(parts[0]) if len(parts) == 1 else object
    return typing.get_origin(hint) or hint
