"""Cells that another sweep has finished: taken from there, since the same configuration is the same run."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from effxf_jax.run_directory import RunDirectory
from experiments.sweeping.cells import Sweep


def take(sweep: Sweep, directory: Path, sources: Sequence[Path]) -> list[str]:
    """Copies finished cells of a sweep from the directories of others, without checkpoints.

    Nobody else may write in the directory meanwhile. A cell that has been begun there is left as it is.

    Returns:
        The names of the cells that were taken.

    Raises:
        MismatchError: what lies in a source under a cell's name is another run, or is damaged.
        OSError: a source cannot be read, or the directory not be written.
    """
    found = {}
    for cell in sweep.cells():
        there = [source / cell.name for source in sources if (source / cell.name / 'result.json').exists()]
        if there and not (directory / cell.name).exists():
            run = RunDirectory(there[0])
            run.check(cell.experiment.record)
            run.read_result()
            found[cell.name] = run.path
    for name, path in found.items():
        # Whole or not at all: a cell that is half copied would look like one that is under way.
        half = directory / f'.{name}.tmp'
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(path, half, ignore=shutil.ignore_patterns('checkpoints', '.lock'))
        half.rename(directory / name)
    return list(found)
