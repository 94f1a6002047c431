"""The constructions, by task and name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from effxf_jax import tasks
from effxf_jax.constructions import compiler, edit_distance, edit_distance_local, lis
from effxf_jax.constructions.compiler import Compiled
from effxf_jax.constructions.program import ConstructionError, Program
from effxf_jax.model import ModelConfig
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
        num_heads: how many heads it needs in a layer.
    """

    program: Callable[[Task], Program]
    task_options: _Options
    mechanism: str
    options: Callable[[Task], _Options]
    largest: int
    num_heads: Callable[[Task], int] = lambda task: 4


def _of_edit_distance(program, mechanism, largest, lengths='equal', **options) -> Construction:
    return Construction(
        program,
        {'lengths': lengths, 'answer_mode': 'chain'},
        mechanism,
        lambda task: options | ({'block_size': task.n + 1} if mechanism == 'sparse' else {}),
        largest,
    )


def _locally(program, mechanism, largest, options=lambda span: {}) -> Construction:
    """A construction of local edit distance; `options` is a function of the positions that it must see."""
    return Construction(
        program,
        {'answer_mode': 'chain'},
        mechanism,
        lambda task: options(task.locality()),
        largest,
    )


def _of_lis(program, mechanism, largest, num_heads=lambda task: 2, options=lambda task: {}) -> Construction:
    return Construction(program, {'answer_mode': 'chain'}, mechanism, options, largest, num_heads)


CONSTRUCTIONS: dict[str, dict[str, Construction]] = {
    'edit_distance': {
        'standard': _of_edit_distance(edit_distance.standard, 'standard', 45),
        'standard_varied': _of_edit_distance(edit_distance.standard, 'standard', 31, lengths='varied'),
        'fixed': _of_edit_distance(edit_distance.fixed, 'sparse', 45, pattern='fixed'),
        'strided': _of_edit_distance(edit_distance.strided, 'sparse', 45, pattern='strided'),
        'linear_table': _of_edit_distance(edit_distance.linear_table, 'linear', 31),
        'linear_overwriting': _of_edit_distance(edit_distance.linear_overwriting, 'linear', 36),
        'delta': _of_edit_distance(edit_distance.delta, 'delta', 45, gate='off'),
        'routed': _of_edit_distance(
            edit_distance.routed,
            'block_routing',
            45,
            block_size=edit_distance.BLOCK_SIZE,
            blocks_kept=1,
        ),
    },
    'edit_distance_local': {
        'standard': _locally(edit_distance_local.anywhere, 'standard', 1000),
        'window': _locally(edit_distance_local.recent, 'sliding_window', 1000, lambda span: {'window': span}),
        'strided': _locally(
            edit_distance_local.recent,
            'sparse',
            1000,
            lambda span: {'pattern': 'strided', 'block_size': span},
        ),
        'fixed': _locally(
            edit_distance_local.anywhere,
            'sparse',
            1000,
            lambda span: {'pattern': 'fixed', 'block_size': 2 * span, 'summary_size': span},
        ),
        'linear': _locally(edit_distance_local.linear, 'linear', 1000),
    },
    'lis': {
        'standard': _of_lis(lis.standard, 'standard', 499, lis.num_bits),
        'fixed': _of_lis(
            lis.fixed,
            'sparse',
            499,
            options=lambda task: {'pattern': 'fixed', 'block_size': lis.block_size(task)},
        ),
        'linear': _of_lis(lis.linear, 'linear', 499, lambda task: 1),
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


def size_of(task: Task) -> int:
    """A task's size, which a construction's `largest` limits."""
    return getattr(task, task.size_option)


def least_width(task: Task, name: str) -> int:
    """The width of a construction, also at sizes beyond its `largest`.

    Raises:
        ConstructionError: there is no such construction, or the task has other options.
    """
    construction = _named(task, name)
    heads = construction.num_heads(task)
    return compiler.least_width(construction.program(task), construction.mechanism, heads)


class Narrowest(NamedTuple):
    """The narrowest construction for a mechanism.

    Attributes:
        name: the construction's name.
        task: the task that it solves, with the construction's `task_options`.
        width: its width.
    """

    name: str
    task: Task
    width: int


def fitting(task: Task, mechanism: str, pattern: str | None = None) -> dict[str, Task]:
    """The constructions for a mechanism, by name, each with the task that it solves.

    Args:
        task: the task; a construction's is of the same size with the construction's `task_options`.
        mechanism: the attention of every layer.
        pattern: the pattern of sparse attention; None for any.
    """
    found = {}
    for name, construction in CONSTRUCTIONS.get(tasks.name_of(task), {}).items():
        of = dataclasses.replace(task, **construction.task_options)
        if construction.mechanism == mechanism and pattern in {None, construction.options(of).get('pattern')}:
            found[name] = of
    return found


def narrowest(task: Task, mechanism: str, pattern: str | None = None) -> Narrowest | None:
    """The narrowest construction that float32 holds at a task's size, or None if there is none.

    It solves the task itself if one does, otherwise the task with other options; see `fitting`.
    """
    found = [
        Narrowest(name, of, least_width(of, name))
        for name, of in fitting(task, mechanism, pattern).items()
        if size_of(of) <= CONSTRUCTIONS[tasks.name_of(task)][name].largest
    ]
    return min(found, key=lambda each: (each.task != task, each.width), default=None)


def build(task: Task, name: str, num_heads: int | None = None, dim: int | None = None) -> Compiled:
    """Makes the model of a construction.

    Args:
        task: the task, with the construction's `task_options`.
        name: the construction's name.
        num_heads: heads per layer; by default as many as the construction needs.
        dim: the width; by default the least.

    Raises:
        ConstructionError: there is no such construction, the task has other options, float32 does not hold
            it at this size, or it does not fit into the width or the heads.
    """
    return compiler.compile_program(*_parts(task, name, num_heads), dim)


def model_config(task: Task, name: str, num_heads: int | None = None, dim: int | None = None) -> ModelConfig:
    """The configuration of the model that `build` makes, which describes the rest; no weights are written."""
    return compiler.model_config(*_parts(task, name, num_heads), dim)


def _parts(task: Task, name: str, num_heads: int | None) -> tuple[Program, str, _Options, int]:
    """The program of a construction, its mechanism with options, and its heads."""
    construction, size = _named(task, name), size_of(task)
    if size > construction.largest:
        raise ConstructionError(
            f'float32 is known to hold the construction {name} up to {task.size_option} = '
            f'{construction.largest}; got {size}'
        )
    num_heads = num_heads or construction.num_heads(task)
    return construction.program(task), construction.mechanism, construction.options(task), num_heads


def _named(task: Task, name: str) -> Construction:
    """The construction of a task, which must have the construction's `task_options`."""
    of_task = tasks.name_of(task)
    if name not in names(of_task):
        raise ConstructionError(f'construction must be one of {", ".join(names(of_task))}; got {name!r}')
    construction = CONSTRUCTIONS[of_task][name]
    needed = construction.task_options
    given = {option: getattr(task, option) for option in needed}
    if given != needed:
        raise ConstructionError(
            f'the construction {name} is of {of_task} with '
            f'{" and ".join(f"{option}={value!r}" for option, value in needed.items())}; '
            f'got {" and ".join(map(repr, given.values()))}'
        )
    return construction
