"""The states of cells, read from their directories, and which cells a grid still requires."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from effxf_jax.runs.directory import RunDirectory
from experiments.sweeping import widths
from experiments.sweeping.cells import Cell, Grid


class State(NamedTuple):
    """The state of a cell.

    Attributes:
        results: the results of the seeds that are done.
        done: whether all seeds are done.
        error: why the cell failed; None otherwise.
        diverged: whether it failed because training diverged. A search counts it as accuracy 0.
    """

    results: list[dict[str, Any]]
    done: bool
    error: str | None = None
    diverged: bool = False

    def mean(self, metric: str) -> float | None:
        """An accuracy's mean over the seeds that are done; failed seeds are left out; None without seeds."""
        found = [result[metric] for result in self.results]
        return sum(found) / len(found) if found else None


def read_state(directory: Path, cell: Cell) -> State:
    """Reads the state of a cell from a sweep's directory.

    Raises:
        MismatchError: the cell's directory belongs to another configuration, or a file in it is damaged.
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
    """Yields the cells that a grid requires, given all states; of a search, the cells of its next step."""
    if not grid.search:
        yield from (cell for cells in grid.cells.values() for cell in cells)
        return
    reached = lambda labels: [a for c in grid.cells[labels] for a in _accuracies(grid, c, states[c.name])]
    for labels in widths.wanted(grid.axes, reached, grid.target):
        yield from grid.cells[labels]


def _accuracies(grid: Grid, cell: Cell, state: State) -> list[float]:
    """The accuracy of each seed: 0 if it diverged; nan if the cell has not ended, or failed otherwise.

    Another failure says nothing about the width, so the search waits until the cell runs again.
    """
    reached = {result['seed']: result[grid.metric] for result in state.results}
    missing = 0.0 if state.diverged else math.nan
    seeds = [alone.seed for alone in cell.experiment.replicates()]
    return [reached.get(seed, missing) if state.done or state.diverged else math.nan for seed in seeds]
