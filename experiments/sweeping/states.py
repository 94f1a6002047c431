"""How cells stand, by what lies in their directories, and which of them a grid still asks for."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from effxf_jax.runs.directory import RunDirectory
from experiments.sweeping import widths
from experiments.sweeping.cells import Cell, Grid


class State(NamedTuple):
    """How a cell stands, by its directory.

    Attributes:
        results: of its seeds, as far as they are done.
        done: all are.
        error: why not all can be; None where they may yet.
        diverged: whether that is because training diverged, which tells something of the others' parameters.
    """

    results: list[dict[str, Any]]
    done: bool
    error: str | None = None
    diverged: bool = False

    def mean(self, metric: str) -> float | None:
        """An accuracy's mean over seeds; one that failed counts nothing."""
        found = [result[metric] for result in self.results]
        return sum(found) / len(found) if found else None


def read_state(directory: Path, cell: Cell) -> State:
    """How a cell stands in a sweep's directory.

    Raises:
        MismatchError: its directory belongs to another configuration, or a file in it is damaged.
    """
    run = RunDirectory(directory / cell.name)
    run.check(cell.experiment.record)
    result = run.read_result()
    if result is not None:
        return State(result.get('replicates', [result]), True)
    parts = [RunDirectory(path).read_result() for path in sorted(run.path.glob('seed-*'))]
    done = [part for part in parts if part is not None]
    failure = run.read_object('failure.json')
    if failure is None:
        return State(done, False)
    return State(done, False, failure.get('error', 'unknown'), failure.get('diverged', False))


def wanted(grid: Grid, states: dict[str, State]) -> Iterator[Cell]:
    """The cells that a grid needs, given how all stand: of a search, those that the next step takes."""
    if not grid.search:
        yield from (cell for cells in grid.cells.values() for cell in cells)
        return
    reached = lambda labels: [a for c in grid.cells[labels] for a in _accuracies(grid, c, states[c.name])]
    for labels in widths.wanted(grid.axes, reached, grid.target):
        yield from grid.cells[labels]


def _accuracies(grid: Grid, cell: Cell, state: State) -> list[float]:
    """Of each seed of a cell: 0 where it diverged; nan where the cell has not ended, or failed otherwise.

    What failed otherwise says nothing of the width: the search waits until it is begun again.
    """
    reached = {result['seed']: result[grid.metric] for result in state.results}
    missing = 0.0 if state.diverged else math.nan
    seeds = [alone.seed for alone in cell.experiment.replicates()]
    return [reached.get(seed, missing) if state.done or state.diverged else math.nan for seed in seeds]
