"""The results of a sweep in one file, results/NAME.jsonl, with a line for each run; see `lines`.

Lines are sorted by grid, axes and seed, so that a line changes only when its run does. Seeds that have not
begun have lines too, so that the file shows the whole grid.
"""

import contextlib
import fcntl
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from effxf_jax.runs.directory import RunDirectory
from experiments.sweeping import lines
from experiments.sweeping.outcomes import NOT_BEGUN, GridRuns, RecordError, Run, checked

SUFFIX = '.jsonl'


def read(path: Path) -> list[GridRuns]:
    """Reads the grids of a file of results.

    Raises:
        RecordError: `write` does not write such a file; the message names the invalid line.
        OSError: the file cannot be read.
    """
    return _parse(path.read_bytes(), path)


def _parse(text: bytes, path: Path) -> list[GridRuns]:
    *whole, rest = text.split(b'\n')
    if rest or not whole:
        raise RecordError(f'{path}, line {len(whole) + 1} is cut off: it does not end with a line break')
    declared: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[tuple[tuple[str, ...], int], Run]] = {}
    for number, line in enumerate(whole, 1):
        where = f'{path}, line {number}'
        grid, run = lines.decode(line, where)
        name = grid['grid']
        first = declared.setdefault(name, grid)
        for field, value in grid.items():
            if value != first[field]:
                earlier = f'{first[field]!r} in earlier lines of {name}'
                raise RecordError(f'{where}: {field} is {value!r}, and {earlier}')
        if runs.setdefault(name, {}).setdefault((run.labels, run.seed), run) is not run:
            at = f'seed {run.seed} at {", ".join(run.labels)}'
            raise RecordError(f'{where}: an earlier line has {at} too')
    return [
        checked(_grid(path.stem, grid, tuple(runs[name].values())), f'{path}, {name}')
        for name, grid in declared.items()
    ]


def _grid(sweep: str, declared: Mapping[str, Any], runs: tuple[Run, ...]) -> GridRuns:
    """A grid whose axes have the values of its runs."""
    values = zip(*(run.labels for run in runs), strict=True)
    axes = {axis: tuple(dict.fromkeys(of)) for axis, of in zip(declared['axes'], values, strict=True)}
    fields = {field: declared[field] for field in lines.GRID_FIELDS[1:]}
    return GridRuns(sweep, declared['grid'], axes=axes, runs=runs, **fields)


def write(path: Path, grids: Iterable[GridRuns]) -> None:
    """Adds grids to a file of results, and keeps the runs that are already in it; the write is atomic.

    A run's newer state replaces its state in the file, except that a run that is done stays done. If another
    process writes to the file, the call waits for it.

    Raises:
        RecordError: the file is not a file of results; it has a settled run of another configuration at the
            same labels and seed; or `read` would refuse the new content. Nothing is written.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        merged = {grid.name: grid for grid in read(path)} if path.exists() else {}
        for grid in grids:
            old = merged.get(grid.name)
            merged[grid.name] = _merged(old, grid, f'{path}, {grid.name}') if old else grid
        text = ''.join(f'{lines.encode(g, run)}\n' for g in merged.values() for run in _ordered(g))
        _parse(text.encode(), path)
        RunDirectory(path.parent).write_text(path.name, text)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lets one process at a time read, merge and write a file; the system releases a dead process's lock."""
    # In a file beside it: a write replaces the file itself. It stays, since others may be waiting for it.
    with path.with_name(f'.{path.name}.lock').open('w', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ordered(grid: GridRuns) -> Sequence[Run]:
    places = {labels: place for place, labels in enumerate(itertools.product(*grid.axes.values()))}
    return sorted(grid.runs, key=lambda run: (places[run.labels], run.seed))


def _merged(old: GridRuns, new: GridRuns, where: str) -> GridRuns:
    """The runs of both grids, in a grid with the newer declaration."""
    if (old.task, list(old.axes)) != (new.task, list(new.axes)):
        raise RecordError(
            f'{where}: the file has a grid of {old.task} over {", ".join(old.axes)}; the new one is of '
            f'{new.task} over {", ".join(new.axes)}. Choose another file'
        )
    axes = {axis: tuple(dict.fromkeys((*values, *old.axes[axis]))) for axis, values in new.axes.items()}
    runs = {(run.labels, run.seed): run for run in old.runs}
    for run in new.runs:
        earlier = runs.get((run.labels, run.seed))
        runs[run.labels, run.seed] = _newer(earlier, run, where) if earlier else run
    return checked(replace(new, axes=axes, runs=tuple(runs.values())), where)


def _newer(old: Run, new: Run, where: str) -> Run:
    """The run to keep, given one in the file and a new one at the same labels and seed."""
    if old.is_settled and old.experiment and new.experiment and old.name != new.name:
        raise RecordError(
            f'{where}: at {", ".join(old.labels)} the file has {old.name}, which is {old.state}; the new run '
            f'{new.name} has another configuration. Choose another file, or remove the old lines'
        )
    if new.state in NOT_BEGUN or (old.state == 'done' and new.state != 'done'):
        return old
    return new if new.log or not old.log else replace(new, path=None, kept_log=tuple(old.log))
