"""Dynamic-programming problems written as chains of thought; `task.Task` is the contract."""

from typing import Any

from effxf_jax import registry
from effxf_jax.tasks.arithmetic import Arithmetic
from effxf_jax.tasks.edit_distance import EditDistance
from effxf_jax.tasks.edit_distance_local import EditDistanceLocal
from effxf_jax.tasks.gsm8k_problems import GradeSchoolMath
from effxf_jax.tasks.linear_equations import LinearEquations
from effxf_jax.tasks.lis import LongestIncreasingSubsequence
from effxf_jax.tasks.task import EOS, PAD, Examples, Grade, Task, Vocabulary
from effxf_jax.tasks.word_problems import WordProblems

TASKS = {
    'arithmetic': Arithmetic,
    'edit_distance': EditDistance,
    'edit_distance_local': EditDistanceLocal,
    'gsm8k': GradeSchoolMath,
    'linear_equations': LinearEquations,
    'lis': LongestIncreasingSubsequence,
    'word_problems': WordProblems,
}
"""The class of each task, by name. A new task is one file with a class, whose fields declare the options, and
one row here."""

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
    'given_options',
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
    """Resolves a task's name or alias to its name: 'edit_distance' for 'ed'.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    return registry.find('task', name, TASKS, aliases())


def names_like(name: str) -> list[str]:
    """All names of the task that a name means; none if it means no task."""
    found = aliases().get(name, name)
    return [found, *TASKS[found].aliases] if found in TASKS else []


def options(name: str) -> tuple[str, ...]:
    """The names of a task's options.

    Raises:
        ValueError: the task's name is unknown.
    """
    return tuple(registry.options(TASKS[find(name)]))


def make(name: str, **values) -> Task:
    """Makes a task by name: `make('arithmetic', n=6, modulus=11)`.

    Raises:
        ValueError: an unknown task, an unknown option, or invalid values.
    """
    unknown = sorted(set(values) - set(options(name)))
    if unknown:
        raise ValueError(
            f'task {name!r} has no option {", ".join(unknown)}; its options are {", ".join(options(name))}'
        )
    return TASKS[find(name)](**values)


def name_of(task: Task) -> str:
    """The name of a task's class in TASKS.

    Raises:
        ValueError: TASKS does not have the class.
    """
    for name, kind in TASKS.items():
        if type(task) is kind:
            return name
    rows = ', '.join(f'{name}: {kind.__module__}.{kind.__qualname__}' for name, kind in TASKS.items())
    raise ValueError(
        f'TASKS has no row for the class {type(task).__module__}.{type(task).__qualname__} of {task}; its '
        f'rows are {rows}'
    )


def required_options(task: Task) -> dict[str, Any]:
    """The values, by name, of the options that have no default: they set the task's size."""
    known = registry.options(type(task))
    return {name: getattr(task, name) for name, o in known.items() if o.default is registry.REQUIRED}


def given_options(task: Task) -> dict[str, Any]:
    """The values, by name, of the required options and of those that differ from their defaults."""
    required = required_options(task)
    plain = type(task)(**registry.first_defaults(name_of(task), type(task)) | required)
    values = {name: getattr(task, name) for name in registry.options(type(task))}
    return required | {n: value for n, value in values.items() if value != getattr(plain, n)}
