"""Cells that another sweep has finished: taken from there, since the same configuration is the same run."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from effxf_jax.run_directory import RunDirectory
from experiments.sweeping.cells import Sweep


def find(sweep: Sweep, directory: Path, sources: Sequence[Path]) -> dict[str, Path]:
    """Finished cells of a sweep in the directories of others, by name, that have not been begun in its own.

    Raises:
        MismatchError: what lies in a source under a cell's name is another run, or is damaged.
        OSError: a source cannot be read.
    """
    found = {}
    for cell in sweep.cells():
        there = [source / cell.name for source in sources if (source / cell.name / 'result.json').exists()]
        if there and not (directory / cell.name).exists():
            run = RunDirectory(there[0])
            run.check(cell.experiment.record)
            run.read_result()
            found[cell.name] = run.path
    return found


def take(sweep: Sweep, directory: Path, sources: Sequence[Path]) -> list[str]:
    """Copies what `find` finds, without checkpoints; nobody else may write in the directory meanwhile.

    Returns:
        The names of the cells that were taken.

    Raises:
        MismatchError, OSError: see `find`; or the directory cannot be written.
    """
    found = find(sweep, directory, sources)
    for name, path in found.items():
        # Whole or not at all: a cell that is half copied would look like one that is under way.
        half = directory / f'.{name}.tmp'
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(path, half, ignore=shutil.ignore_patterns('checkpoints', '.lock'))
        half.rename(directory / name)
    return list(found)
