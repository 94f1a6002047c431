"""Copies settled cells of other sweeps, since the same configuration gives the same run.

A run is settled if it is done or has diverged. Runs are matched by their configurations, seed by seed: the
names of directories, and which seeds were trained side by side, do not matter. So the sweep's own directory
is a source too: it may hold cells under the names that an earlier version gave them.
"""

import contextlib
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from effxf_jax.runs.directory import RunDirectory
from experiments.sweeping import archive, outcomes
from experiments.sweeping.cells import Cell, Sweep
from experiments.sweeping.outcomes import RecordError, Run


def find(
    sweep: Sweep, directory: Path, sources: Sequence[Path], also_diverged: bool = True
) -> dict[str, list[Run]]:
    """Finds the cells that can be copied: not begun under their names, and with every seed settled elsewhere.

    Args:
        sweep: the sweep that requires the cells.
        directory: the sweep's directory, which is searched first.
        sources: directories of other sweeps, or files of results.
        also_diverged: whether diverged runs are copied; False if failed cells are to run again.

    Returns:
        The runs of a cell's seeds, by the cell's name.

    Raises:
        RecordError: a source does not have the contents that a sweep writes.
        OSError: a source cannot be read.
    """
    settled: dict[str, Run] = {}
    for run in itertools.chain(_own_runs(sweep, directory), *map(_runs, sources)):
        if run.experiment and (run.state == 'done' or (also_diverged and run.diverged)):
            settled.setdefault(run.name, run)
    found = {}
    for cell in sweep.cells():
        names = [alone.name for alone in cell.experiment.replicates()]
        if not (directory / cell.name).exists() and all(name in settled for name in names):
            found[cell.name] = [settled[name] for name in names]
    return found


def _own_runs(sweep: Sweep, directory: Path) -> Iterator[Run]:
    """The runs in the sweep's directory, except cells under their present names and unreadable ones."""
    names = {cell.name for cell in sweep.cells()}
    for path in outcomes.cell_directories(directory):
        if path.name not in names:
            with contextlib.suppress(RecordError):  # such as a run of a task that is no longer known
                yield from outcomes.read_cell(path)


def _runs(source: Path) -> Iterable[Run]:
    if source.is_dir():
        return outcomes.read_cells(source)
    return [run for grid in archive.read(source) for run in grid.runs]


def take(
    sweep: Sweep, directory: Path, sources: Sequence[Path], also_diverged: bool = True
) -> dict[str, list[Run]]:
    """Copies the cells that `find` finds, without checkpoints. The caller must hold the directory's lock.

    Returns:
        The runs that were copied, by the name of the cell that they now are.

    Raises:
        RecordError, OSError: see `find`; or the directory cannot be written.
    """
    found = find(sweep, directory, sources, also_diverged)
    for cell in sweep.cells():
        if cell.name in found:
            # Renamed at the end: an incomplete copy would look like a cell that is running.
            half = directory / f'.{cell.name}.tmp'
            shutil.rmtree(half, ignore_errors=True)
            _write_cell(half, cell, found[cell.name])
            half.rename(directory / cell.name)
    return found


def _write_cell(path: Path, cell: Cell, runs: Sequence[Run]) -> None:
    top = RunDirectory(path)
    for run in runs:
        own = RunDirectory(path if len(runs) == 1 else path / f'seed-{run.seed}')
        if run.path is not None:  # also samples and TensorBoard's events, which files of results lack
            ignored = shutil.ignore_patterns('checkpoints', '.lock', 'failure.json', 'config.json')
            shutil.copytree(run.path, own.path, ignore=ignored)
        own.claim(run.experiment.record)
        own.write_text('metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in run.log))
        if run.result is not None:
            own.write_text('result.json', json.dumps(run.result, indent=2) + '\n')
    top.claim(cell.experiment.record)
    diverged = [run.error for run in runs if run.diverged]
    if diverged:
        failure = {'error': '; '.join(dict.fromkeys(diverged)), 'diverged': True}
        top.write_text('failure.json', json.dumps(failure, indent=2) + '\n')
    elif len(runs) > 1:
        results = {'replicates': [run.result for run in runs]}
        top.write_text('result.json', json.dumps(results, indent=2) + '\n')
