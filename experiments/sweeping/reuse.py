"""Copies settled cells of other sweeps, since the same configuration gives the same run.

A run is settled if it is done or has diverged. Runs are matched by their configurations, seed by seed: the
names of directories, and which seeds were trained side by side, do not matter.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from effxf_jax.runs.directory import RunDirectory
from experiments.sweeping import archive, outcomes
from experiments.sweeping.cells import Cell, Sweep
from experiments.sweeping.outcomes import Run


def find(
    sweep: Sweep, directory: Path, sources: Sequence[Path], also_diverged: bool = True
) -> dict[str, list[Run]]:
    """The cells that can be copied: not begun here, and with all their seeds settled in other sweeps.

    Args:
        sweep: whose cells.
        directory: its own.
        sources: directories of others, or files of results.
        also_diverged: whether runs that have diverged count; they do not where they are to be run again.

    Returns:
        For each cell, by name, the runs of its seeds.

    Raises:
        RecordError: a source does not have the contents that a sweep writes.
        OSError: a source cannot be read.
    """
    settled: dict[str, Run] = {}
    for source in sources:
        for run in _runs(source):
            if run.experiment and (run.state == 'done' or (also_diverged and run.diverged)):
                settled.setdefault(run.name, run)
    found = {}
    for cell in sweep.cells():
        names = [alone.name for alone in cell.experiment.replicates()]
        if not (directory / cell.name).exists() and all(name in settled for name in names):
            found[cell.name] = [settled[name] for name in names]
    return found


def _runs(source: Path) -> Iterable[Run]:
    if source.is_dir():
        return outcomes.read_cells(source)
    return [run for grid in archive.read(source) for run in grid.runs]


def take(sweep: Sweep, directory: Path, sources: Sequence[Path], also_diverged: bool = True) -> list[str]:
    """Copies the cells that `find` finds, without checkpoints; no one else may write in the directory.

    Returns:
        The names of the cells that were taken.

    Raises:
        RecordError, OSError: see `find`; or the directory cannot be written.
    """
    found = find(sweep, directory, sources, also_diverged)
    for cell in sweep.cells():
        if cell.name in found:
            # Whole or not at all: half a cell would look like a cell that is running.
            half = directory / f'.{cell.name}.tmp'
            shutil.rmtree(half, ignore_errors=True)
            _write_cell(half, cell, found[cell.name])
            half.rename(directory / cell.name)
    return list(found)


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
