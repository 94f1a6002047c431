"""Which mechanism is ahead: by the width that it needs at one size, or by its accuracy at one width."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from experiments.reporting import analysis, labels
from experiments.reporting.analysis import Widths
from experiments.reporting.records import GridRecord


class Comparison(NamedTuple):
    """A comparison of mechanisms in words.

    Attributes:
        text: one or two sentences with the numbers.
        is_decided: whether one mechanism is ahead by more than the seeds differ.
    """

    text: str
    is_decided: bool


def needed_widths(grid: GridRecord, widths: Widths) -> Comparison:
    """The needed widths at the last size at which the most of them are known, and their costs.

    It is decided if at least two widths are known and the interval of the least one lies below the others.
    """
    known = {
        size: sum(math.isfinite(at.width) for (_, s), at in widths.needed.items() if s == size)
        for size in grid.axes['size']
    }
    best = max(reversed(known), key=known.__getitem__)
    if not known[best]:
        return Comparison(f'No width that reaches {labels.reaching(grid)} is known.', False)
    needed = {mechanism: at for (mechanism, size), at in widths.needed.items() if size == best}
    exact = {m: at.width for m, at in needed.items() if math.isfinite(at.width)}
    least, *others = sorted(exact, key=exact.__getitem__)
    costs = {m: cost.mflops for (m, size), cost in analysis.least_costs(grid).items() if size == best}
    wider = [
        f'{exact[m]:.1f} with {labels.mechanism(m)}{_times(costs[m], costs[least])}' for m in reversed(others)
    ]
    against = f'{labels.listed(wider)} against ' if wider else ''
    text = (
        f'At {labels.size_title(grid, best)}, {labels.reaching(grid)} needs width '
        f'{against}{exact[least]:.1f} with {labels.mechanism(least)}'
    )
    bounded = {m: analysis.needed_text(at) for m, at in needed.items() if m not in exact}
    text = '; '.join(filter(None, [text, labels.grouped(bounded)]))
    below = widths.intervals[least, best].high
    is_decided = bool(others) and all(below < widths.intervals[m, best].low for m in others)
    return Comparison(f'{text}.', is_decided)


def _times(cost: float, least: float) -> str:
    """How often one cost contains another: ` (3.8 times the FLOPs)`."""
    return f' ({cost / least:.1f} times the FLOPs)' if math.isfinite(cost) and math.isfinite(least) else ''


def accuracies(grid: GridRecord) -> Comparison | None:
    """The accuracies at one size and width, where one mechanism is ahead; None where none is.

    A mechanism is ahead if in more than half of the sizes and widths that all mechanisms share every seed of
    it lies above every seed of the others, and if nowhere every seed of another lies above all of its own.
    """
    cells = _shared_cells(grid)
    for leader in grid.axes['mechanism']:
        ahead = [cell for cell, seeds in cells.items() if _is_above_all(seeds, leader)]
        behind = [cell for cell, seeds in cells.items() if _is_below_any(seeds, leader)]
        if 2 * len(ahead) > len(cells) and not behind:
            break
    else:
        return None
    widest = max(ahead, key=lambda cell: (int(labels.value(cell[1])), grid.lengths(cell[0])))
    seeds, (size, width) = cells[widest], widest
    mean = {m: sum(each) / len(each) for m, each in seeds.items()}
    found = [
        f'{mean[m]:.3f} ({"" if rank else "seeds "}{min(seeds[m]):.3f} to {max(seeds[m]):.3f}) '
        f'with {labels.mechanism(m)}'
        for rank, m in enumerate(sorted(mean, key=mean.__getitem__, reverse=True))
    ]
    others = [m for m in mean if m != leader]
    rest = labels.mechanism(others[0]) if len(others) == 1 else 'the others'
    text = (
        f'At {labels.size_title(grid, size)}, D={labels.value(width)}, {labels.METRIC_NAMES[grid.metric]} is '
        f'{labels.listed(found)}. All seeds of {labels.mechanism(leader)} lie above those of {rest} in '
        f'{labels.of_all(len(ahead), len(cells))} sizes and widths.'
    )
    return Comparison(text, True)


def _shared_cells(grid: GridRecord) -> Mapping[tuple[str, str], Mapping[str, list[float]]]:
    """Accuracies of the seeds by size and width, then by mechanism, where each mechanism has two or more."""
    mechanisms, sizes, columns = grid.axes.values()
    cells = {}
    for cell in ((size, column) for size in sizes for column in columns):
        found = {m: [grid.accuracy(run) for run in grid.select(m, *cell)] for m in mechanisms}
        seeds = {m: [a for a in each if not math.isnan(a)] for m, each in found.items()}
        if len(mechanisms) > 1 and all(len(each) > 1 for each in seeds.values()):
            cells[cell] = seeds
    return cells


def _is_above_all(seeds: Mapping[str, list[float]], leader: str) -> bool:
    return all(min(seeds[leader]) > max(each) for m, each in seeds.items() if m != leader)


def _is_below_any(seeds: Mapping[str, list[float]], leader: str) -> bool:
    return any(min(each) > max(seeds[leader]) for m, each in seeds.items() if m != leader)
