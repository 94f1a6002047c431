"""The constructions, by task and name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from effxf_jax import tasks
from effxf_jax.constructions import edit_distance
from effxf_jax.constructions.compiler import Compiled, compile_program
from effxf_jax.constructions.program import ConstructionError, Program
from effxf_jax.tasks import Task

_Options = Mapping[str, Any]


class Construction(NamedTuple):
    """A program for a task, and the mechanism that it is for.

    Attributes:
        program: makes the program.
        task_options: options that the task must have.
        mechanism: the attention of every layer.
        options: the mechanism's options for a task.
        largest: the largest size at which it has been measured that float32 holds the construction; larger
            ones are refused.
    """

    program: Callable[[Task], Program]
    task_options: _Options
    mechanism: str
    options: Callable[[Task], _Options]
    largest: int


def _of_edit_distance(program, mechanism, largest, **options) -> Construction:
    return Construction(
        program,
        {'lengths': 'equal', 'answer_mode': 'chain'},
        mechanism,
        lambda task: options | ({'block_size': task.n + 1} if mechanism == 'sparse' else {}),
        largest,
    )


CONSTRUCTIONS: dict[str, dict[str, Construction]] = {
    'edit_distance': {
        'standard': _of_edit_distance(edit_distance.standard, 'standard', 45),
        'fixed': _of_edit_distance(edit_distance.fixed, 'sparse', 45, pattern='fixed'),
        'strided': _of_edit_distance(edit_distance.strided, 'sparse', 45, pattern='strided'),
        'linear_table': _of_edit_distance(edit_distance.linear_table, 'linear', 31),
        'linear_overwriting': _of_edit_distance(edit_distance.linear_overwriting, 'linear', 36),
    },
}
"""By the task's name and the construction's name."""


def names(task: str) -> list[str]:
    """The names of a task's constructions.

    Raises:
        ConstructionError: the task has none.
    """
    if task not in CONSTRUCTIONS:
        known = ', '.join(CONSTRUCTIONS)
        raise ConstructionError(f'there is no construction of the task {task!r}; there are some of {known}')
    return list(CONSTRUCTIONS[task])


def build(task: Task, name: str, num_heads: int = 4, dim: int | None = None) -> Compiled:
    """Makes the model of a construction.

    Args:
        task: the task, with the construction's `task_options`.
        name: the construction's name.
        num_heads: heads per layer.
        dim: the width; by default the least.

    Raises:
        ConstructionError: there is no such construction, float32 does not hold it at this size, or it does
            not fit into the width or the heads.
    """
    of_task = tasks.name_of(task)
    if name not in names(of_task):
        raise ConstructionError(f'construction must be one of {", ".join(names(of_task))}; got {name!r}')
    construction = CONSTRUCTIONS[of_task][name]
    size = getattr(task, task.size_option)
    if size > construction.largest:
        raise ConstructionError(
            f'float32 is known to hold the construction {name} up to {task.size_option} = '
            f'{construction.largest}; got {size}'
        )
    program = construction.program(task)
    return compile_program(program, construction.mechanism, construction.options(task), num_heads, dim)
