"""Dynamic-programming problems written out as chains of thought; `task.Task` is the contract."""

from typing import Any

from effxf_jax import registry
from effxf_jax.tasks.arithmetic import Arithmetic
from effxf_jax.tasks.edit_distance import EditDistance
from effxf_jax.tasks.edit_distance_local import EditDistanceLocal
from effxf_jax.tasks.linear_equations import LinearEquations
from effxf_jax.tasks.lis import LongestIncreasingSubsequence
from effxf_jax.tasks.task import EOS, PAD, Examples, Grade, Task, Vocabulary

TASKS = {
    'arithmetic': Arithmetic,
    'edit_distance': EditDistance,
    'edit_distance_local': EditDistanceLocal,
    'linear_equations': LinearEquations,
    'lis': LongestIncreasingSubsequence,
}
"""Tasks by name. A new task is one file and one row here; its fields declare its options."""

__all__ = [
    'EOS',
    'PAD',
    'TASKS',
    'Examples',
    'Grade',
    'Task',
    'Vocabulary',
    'aliases',
    'find',
    'make',
    'name_of',
    'names_like',
    'options',
    'required_options',
]


def aliases() -> dict[str, str]:
    """The names in TASKS by the short names that are accepted for them."""
    return {alias: name for name, kind in TASKS.items() for alias in kind.aliases}


def find(name: str) -> str:
    """The name of a task, given that or a short one: 'edit_distance' for 'ed'.

    Raises:
        ValueError: there is no such task; the message suggests the nearest one.
    """
    return registry.find('task', name, TASKS, aliases())


def names_like(name: str) -> list[str]:
    """All names of the task that a name means; none if it means no task."""
    found = aliases().get(name, name)
    return [found, *TASKS[found].aliases] if found in TASKS else []


def options(name: str) -> tuple[str, ...]:
    """The names of a task's options.

    Raises:
        ValueError: there is no such task.
    """
    return tuple(registry.options(TASKS[find(name)]))


def make(name: str, **values) -> Task:
    """A task by name, such as `make('arithmetic', n=6, modulus=11)`.

    Raises:
        ValueError: an unknown task or option, or values that the task refuses.
    """
    unknown = sorted(set(values) - set(options(name)))
    if unknown:
        raise ValueError(f'task {name!r} has no option {unknown}; it has {list(options(name))}')
    return TASKS[find(name)](**values)


def name_of(task: Task) -> str:
    """The name that makes a task of this kind."""
    return next(name for name, kind in TASKS.items() if type(task) is kind)


def required_options(task: Task) -> dict[str, Any]:
    """The options of a task that have no default, its size, with their values."""
    known = registry.options(type(task))
    return {name: getattr(task, name) for name, o in known.items() if o.default is registry.REQUIRED}
