"""Cells that other sweeps have settled: taken from there, since the same configuration is the same run.

Settled is what is done, or has diverged, as it would again. Runs are found by their configurations, seed by
seed: the names of directories, and which seeds were trained side by side, do not matter.
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
    """Cells of a sweep, by name, that have not been begun in its directory and of which others have settled
    all seeds; the run of each seed.

    Args:
        sweep: whose cells.
        directory: its own.
        sources: directories of others, or files of results.
        also_diverged: not only what is done; what has diverged is of no use where it is to be begun again.

    Raises:
        RecordError: what lies in a source is not what a sweep leaves.
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
    """Writes what `find` finds, without checkpoints; nobody else may write in the directory meanwhile.

    Returns:
        The names of the cells that were taken.

    Raises:
        RecordError, OSError: see `find`; or the directory cannot be written.
    """
    found = find(sweep, directory, sources, also_diverged)
    for cell in sweep.cells():
        if cell.name in found:
            # Whole or not at all: a cell that is half there would look like one that is under way.
            half = directory / f'.{cell.name}.tmp'
            shutil.rmtree(half, ignore_errors=True)
            _write_cell(half, cell, found[cell.name])
            half.rename(directory / cell.name)
    return list(found)


def _write_cell(path: Path, cell: Cell, runs: Sequence[Run]) -> None:
    top = RunDirectory(path)
    for run in runs:
        own = RunDirectory(path if len(runs) == 1 else path / f'seed-{run.seed}')
        if run.path is not None:  # with what no file of results has: samples, and TensorBoard's events
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
