"""Output of a running sweep in a terminal, or in a log if there is no terminal."""

import itertools
import time
from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.sweeping import cells
from experiments.sweeping.cells import Cell, Grid, Sweep
from experiments.sweeping.states import State
from experiments.sweeping.worker import Event

# The time left is shown after this share of the work or this many seconds; before that, workers start and
# compile.
_LEAST_MADE, _SETTLED_SECONDS = 0.01, 900.0


class TerminalWatcher:
    """A `scheduler.Watcher` that shows heat maps of accuracy and the time left; a context manager."""

    def __init__(self, sweep: Sweep, console: Console | None = None):
        self._sweep = sweep
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._states = {cell.name: State([], False) for cell in sweep.cells()}
        self._running: dict[str, Event] = {}
        self._accuracy: dict[str, dict[str, float]] = {}
        self._submitted: dict[str, Cell] = {}
        self._certain = {c.name for g in sweep.grids if not g.search for cs in g.cells.values() for c in cs}
        self._metric = {c.name: grid.metric for grid in sweep.grids for cs in grid.cells.values() for c in cs}
        self._begun = time.monotonic()
        self._first_steps: dict[str, int] = {}
        self._last_steps: dict[str, int] = {}

    def __enter__(self) -> 'TerminalWatcher':
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.update(self._render(self._sweep.grids))
            self._live.stop()

    def copied(self, names: Sequence[str]) -> None:
        if names:
            what = f'{len(names)} cells were copied' if len(names) > 1 else '1 cell was copied'
            self._console.print(f'{what} from settled runs of the same configuration', soft_wrap=True)

    def found(self, cell: Cell, state: State) -> None:
        self._states[cell.name] = state

    def submitted(self, cell: Cell) -> None:
        self._submitted[cell.name] = cell

    def progressed(self, cell: Cell, event: Event) -> None:
        if event.step is not None:
            self._first_steps.setdefault(cell.name, event.step)
            self._last_steps[cell.name] = event.step
        self._running[cell.name] = event
        if event.accuracy is not None:
            self._accuracy[cell.name] = event.accuracy

    def ended(self, cell: Cell, state: State) -> None:
        self._states[cell.name] = state
        self._running.pop(cell.name, None)
        if not self._live:
            accuracy = state.mean(self._metric[cell.name])
            how = f'{accuracy:.3f}' if state.done else f'failed: {state.error}'
            what = ' '.join(map(cells.short, cell.labels))
            self._console.print(
                f'{cell.grid} {what} ({cell.name}): {how}; {self.counts()}', markup=False, soft_wrap=True
            )

    def counts(self) -> str:
        """Numbers of cells done, running, waiting and failed, and the time left; a search may add to them."""
        done = sum(state.done for state in self._states.values())
        failed = sum(state.error is not None for state in self._states.values())
        waiting = [
            name for name, cell in self._submitted.items()
            if self._is_under_way(cell) and name not in self._running
        ]  # fmt: skip
        known = self._certain | self._submitted.keys() | set(filter(self._ended, self._states))
        parts = [f'{done} of {len(known)} cells done', f'{len(self._running)} running']
        parts += [f'{len(waiting)} waiting'] if waiting else []
        parts += [f'{failed} failed'] if failed else []
        left = self._seconds_left()
        at_least = 'at least ' if any(grid.search for grid in self._sweep.grids) else ''
        parts += [f'{at_least}{_duration(left)} left'] if left else []
        return ', '.join(parts)

    def _ended(self, name: str) -> bool:
        return self._states[name].done or self._states[name].error is not None

    def _seconds_left(self) -> float | None:
        """The time left for the cells submitted so far, at the speed so far; None at the start."""
        made = left = 0.0
        for name, cell in self._submitted.items():
            steps, work = cell.experiment.train.steps, cell.relative_time
            if not steps:  # nothing to wait for
                continue
            first = self._first_steps.get(name, 0)
            at = steps if self._states[name].done else self._last_steps.get(name, first)
            made += work * (at - first) / steps
            if not self._ended(name):
                left += work * (steps - at) / steps
        elapsed = time.monotonic() - self._begun
        if not made or (made < _LEAST_MADE * (made + left) and elapsed < _SETTLED_SECONDS):
            return None
        return left * elapsed / made

    def refresh(self) -> None:
        if self._live:
            self._live.update(self._render(self._grids_that_fit()), refresh=True)

    def _grids_that_fit(self) -> list[Grid]:
        """All grids or, if the screen is too low for them, the grids with cells under way."""
        grids = list(self._sweep.grids)
        rows = sum(len({labels[:-1] for labels in grid.cells}) for grid in grids)
        if rows + 2 * len(grids) < self._console.height:
            return grids
        return [grid for grid in grids if any(map(self._is_under_way, itertools.chain(*grid.cells.values())))]

    def _is_under_way(self, cell: Cell) -> bool:
        return cell.name in self._submitted and not self._ended(cell.name)

    def _render(self, grids: Iterable[Grid]) -> Group:
        return Group(Text(self.counts()), *map(self._heat_map, grids))

    def _heat_map(self, grid: Grid) -> Table:
        *outer, (inner, columns) = grid.axes.items()
        table = Table(title=f'{grid.name}: {grid.metric}', title_justify='left', box=None, padding=(0, 1))
        for axis, _ in outer:
            table.add_column(axis)
        for column in columns:
            table.add_column(cells.short(column), justify='right')
        for row in dict.fromkeys(labels[:-1] for labels in grid.cells):
            entries = (self._entry(grid, grid.cells[(*row, column)]) for column in columns)
            table.add_row(*map(cells.short, row), *entries)
        return table

    def _entry(self, grid: Grid, point: list[Cell]) -> Text:
        """The entry of a point: its accuracy so far, how much of it has been trained, or that it failed."""
        if any(self._states[c.name].error is not None for c in point):
            return Text('failed', style='bold red')
        if all(self._states[c.name].done for c in point):
            found = [r[grid.metric] for c in point for r in self._states[c.name].results]
            return _shade(sum(found) / len(found))
        running = [c for c in point if c.name in self._running]
        if running:
            step, steps = self._running[running[0].name].step, running[0].experiment.train.steps
            accuracy = self._accuracy.get(running[0].name)
            if accuracy is not None:
                return _shade(accuracy[grid.metric], '…')
            return Text(f'{100 * (step or 0) / steps:.0f}%')
        return Text('·' if any(c.name in self._submitted for c in point) else '')


def _shade(accuracy: float, suffix: str = '') -> Text:
    """An accuracy on a background from dark blue to bright yellow."""
    red, green, blue = int(60 + 195 * accuracy), int(20 + 210 * accuracy), int(110 - 70 * accuracy)
    ink = 'black' if accuracy > 0.5 else 'white'
    return Text(f'{accuracy:.2f}{suffix}', style=f'{ink} on rgb({red},{green},{blue})')


def _duration(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min'
