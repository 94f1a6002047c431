"""Dynamic-programming problems written out as chains of thought; `task.Task` is the contract."""

import dataclasses

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
"""Tasks by name. A new task is one file and one row here."""

__all__ = ['EOS', 'PAD', 'TASKS', 'Examples', 'Grade', 'Task', 'Vocabulary', 'make', 'name_of', 'options']


def options(name: str) -> tuple[str, ...]:
    """The names of a task's options.

    Raises:
        ValueError: there is no such task.
    """
    if name not in TASKS:
        raise ValueError(f'unknown task {name!r}; a task is one of {sorted(TASKS)}')
    return tuple(field.name for field in dataclasses.fields(TASKS[name]))


def make(name: str, **values) -> Task:
    """A task by name, such as `make('arithmetic', n=6, modulus=11)`.

    Raises:
        ValueError: an unknown task or option, or values that the task refuses.
    """
    unknown = sorted(set(values) - set(options(name)))
    if unknown:
        raise ValueError(f'task {name!r} has no option {unknown}; it has {list(options(name))}')
    return TASKS[name](**values)


def name_of(task: Task) -> str:
    """The name that makes a task of this kind."""
    return next(name for name, kind in TASKS.items() if isinstance(task, kind))
