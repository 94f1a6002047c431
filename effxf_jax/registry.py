"""Tables of factories by name: of mechanisms, of tasks, of optimisers.

A factory's signature is the one place that declares its options, their defaults and their types;
configurations, messages and the names of runs are derived from it.
"""

import difflib
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

REQUIRED = inspect.Parameter.empty
"""The default of an option that has none and must be given."""


FIRST_DEFAULTS: dict[str, Any] = {}
"""The first default of every field or option whose default has changed, by `OWNER.NAME`: the section of a
record, or the name of a mechanism, an optimiser or a task, and the field or option. Names of runs and results
hold what differs from the first defaults, so they keep their meaning."""


class Option(NamedTuple):
    """An option of a factory.

    Attributes:
        name: the name of the factory's parameter.
        default: the value if none is given, or REQUIRED.
        type: the type of its values, None aside; `object` if any hashable value is accepted.
        optional: whether None is a value.
    """

    name: str
    default: Any
    type: type
    optional: bool

    def cast(self, value: Any) -> Any:
        """The value in the option's type: an integer becomes a float, a list a tuple, where that is the type.

        Raises:
            ValueError: the value is of another type, or not hashable.
        """
        if value is None and self.optional:
            return None
        if self.type is tuple and isinstance(value, list):
            value = tuple(value)
        number = {int: numbers.Integral, float: numbers.Real}.get(self.type)
        if number and isinstance(value, number) and not isinstance(value, bool):
            return self.type(value)
        if value is None or number or not isinstance(value, self.type):
            raise ValueError(f'{self.name} must be of type {self.type.__name__}; got {value!r}')
        try:
            hash(value)
        except TypeError as error:
            raise ValueError(f'{self.name} must be hashable; got {value!r}') from error
        return value


@functools.cache  # reading a signature takes long beside its uses
def options(factory: Callable) -> Mapping[str, Option]:
    """A factory's options by name, in the order of its signature.

    Raises:
        TypeError: a parameter has neither an annotation nor a default that shows its type.
    """
    parameters = inspect.signature(factory, eval_str=True).parameters
    return types.MappingProxyType({name: _option(factory, p) for name, p in parameters.items()})


def defaults(factory: Callable) -> dict[str, Any]:
    """The default values, by name, of the options that have one."""
    return {name: o.default for name, o in options(factory).items() if o.default is not REQUIRED}


def first_defaults(owner: str, factory: Callable) -> dict[str, Any]:
    """The first default values, by name; see FIRST_DEFAULTS.

    Args:
        owner: the factory's name in its table, or the section of a dataclass.
        factory: the factory.
    """
    return {name: FIRST_DEFAULTS.get(f'{owner}.{name}', value) for name, value in defaults(factory).items()}


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


def merged_options(table: Mapping[str, Callable], reserved: Iterable[str] = ()) -> dict[str, Option]:
    """The options of all factories of a table, by name.

    Args:
        table: factories by name. Several may have an option of the same name and type.
        reserved: names that no option may have, since they mean something else beside the options.

    Raises:
        TypeError: an option has a reserved name, no default, or another type in another factory.
    """
    merged: dict[str, Option] = {}
    for owner, factory in table.items():
        for name, option in options(factory).items():
            other = merged.setdefault(name, option)
            if name in reserved:
                raise TypeError(f'{owner}: an option cannot be called {name}, as a field beside it is')
            if option.default is REQUIRED:
                raise TypeError(f'{owner}: the option {name} must have a default')
            if option.type is not other.type:
                raise TypeError(f'{owner}: the option {name} is of type {option.type.__name__} here and '
                                f'{other.type.__name__} elsewhere; choose another name')  # fmt: skip
    return merged


def option_values(title: str, table: Mapping[str, Callable], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each option that some factories have: the given value, or else the default.

    Args:
        title: what the factories make, for messages: "mechanism 'linear+standard'".
        table: the factories by name.
        given: values by option name.

    Raises:
        ValueError: naming every given option that none of the factories has, every value of a wrong type, and
            every option that is not given though its defaults differ between the factories.
    """
    known = merged_options(table)
    usual = _common({name: defaults(factory) for name, factory in table.items()})
    names = ', '.join(known) or 'none'
    problems = [
        f'{name} is not an option of {title} (options: {names}); got {name}={value!r}'
        for name, value in given.items()
        if name not in known
    ]
    values, wrong = cast_values(known, given)
    problems += wrong
    problems += [
        f'{name} must be given: its defaults differ between the parts of {title}'
        for name in known
        if name not in given and name not in usual
    ]
    if problems:
        raise ValueError('\n'.join(problems))
    return {name: values.get(name, usual.get(name)) for name in known}


def changed_options(table: Mapping[str, Callable], values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Sorted pairs of the options whose value is not the default of every factory that has them."""
    usual = _common({name: defaults(factory) for name, factory in table.items()})
    return tuple(sorted((n, value) for n, value in values.items() if n not in usual or usual[n] != value))


def usual_options(table: Mapping[str, Callable]) -> dict[str, Any]:
    """The first default of each option for which all factories have the same one."""
    return _common({name: first_defaults(name, factory) for name, factory in table.items()})


def cast_values(known: Mapping[str, Option], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Casts the given values of known options; returns them by name, and the problems with the others."""
    values, problems = {}, []
    for name in (name for name in given if name in known):
        try:
            values[name] = known[name].cast(given[name])
        except ValueError as error:
            problems.append(str(error))
    return values, problems


def cast_fields(instance: Any) -> None:
    """Casts the fields of a dataclass's instance to their types, as `Option.cast` does.

    Raises:
        ValueError: naming every field whose value is of another type.
    """
    known = {name: option for name, option in options(type(instance)).items() if option.type is not object}
    values, problems = cast_values(known, {name: getattr(instance, name) for name in known})
    if problems:
        raise ValueError('\n'.join(problems))
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _common(defaults_by_owner: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values by option name on which all owners that have the option agree."""
    found: dict[str, list[Any]] = {}
    for values in defaults_by_owner.values():
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: values[0] for name, values in found.items() if all(value == values[0] for value in values)}


def _option(factory: Callable, parameter: inspect.Parameter) -> Option:
    hint = parameter.annotation
    if hint is inspect.Parameter.empty:
        if parameter.default in (REQUIRED, None):
            raise TypeError(f'{factory.__name__}: the parameter {parameter.name} must have an annotation')
        hint = type(parameter.default)
    parts = [hint]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        parts = list(typing.get_args(hint))
    kinds = [typing.get_origin(part) or part for part in parts if part is not types.NoneType]
    kind = kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) else object
    return Option(parameter.name, parameter.default, kind, optional=types.NoneType in parts)
