"""Cells that another sweep has settled: taken from there, since the same configuration is the same run.

Settled is what is done, or has diverged, as it would again.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments.sweeping.cells import Sweep
from experiments.sweeping.states import read_state


def find(
    sweep: Sweep, directory: Path, sources: Sequence[Path], also_diverged: bool = True
) -> dict[str, Path]:
    """Settled cells of a sweep in the directories of others, by name, that have not been begun in its own.

    Args:
        sweep: whose cells.
        directory: its own.
        sources: of others.
        also_diverged: not only what is done; what has diverged is of no use where it is to be begun again.

    Raises:
        MismatchError: what lies in a source under a cell's name is another run, or is damaged.
        OSError: a source cannot be read.
    """
    found = {}
    for cell in sweep.cells():
        if (directory / cell.name).exists():
            continue
        for source in sources:
            state = read_state(source, cell)
            if state.done or (also_diverged and state.diverged):
                found[cell.name] = source / cell.name
                break
    return found


def take(sweep: Sweep, directory: Path, sources: Sequence[Path], also_diverged: bool = True) -> list[str]:
    """Copies what `find` finds, without checkpoints; nobody else may write in the directory meanwhile.

    Returns:
        The names of the cells that were taken.

    Raises:
        MismatchError, OSError: see `find`; or the directory cannot be written.
    """
    found = find(sweep, directory, sources, also_diverged)
    for name, path in found.items():
        # Whole or not at all: a cell that is half copied would look like one that is under way.
        half = directory / f'.{name}.tmp'
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(path, half, ignore=shutil.ignore_patterns('checkpoints', '.lock'))
        half.rename(directory / name)
    return list(found)
