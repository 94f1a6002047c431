"""What a grid over values of one setting shows, such as learning rates or steps, in sentences."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from experiments.reporting import labels
from experiments.reporting.records import GridRecord
from experiments.reporting.verdicts import Kind, Verdict
from experiments.sweeping.cells import short


class _Case(NamedTuple):
    """One mechanism on one problem, over all values.

    Attributes:
        row: its labels, without the value.
        values: labels of the values that have results, the one with the highest mean first.
        means: of their accuracies.
        seeds: accuracies of the seeds of the first value.
        is_clear: whether each of them lies above all seeds of the second value.
    """

    row: tuple[str, ...]
    values: Sequence[str]
    means: Sequence[float]
    seeds: Sequence[float]
    is_clear: bool


def verdict(grid: GridRecord) -> Verdict:
    """The values with the highest means, and whether the seeds separate them from the next ones."""
    *_, columns = grid.axes.values()
    title = labels.field(columns[0])
    cases = [_case(grid, row) for row in dict.fromkeys(run.labels[:-1] for run in grid.done)]
    clear = sum(case.is_clear for case in cases)
    decided = Kind.COMPARISON if clear else Kind.INCONCLUSIVE
    kind = Kind.SEARCH if title == 'learning rate' else decided
    lead = f'{title.capitalize()} with the highest mean accuracy (its seeds), and the next one:'
    details = tuple(map(_detail, cases))
    if clear and len(columns) == 2 and len({case.values for case in cases}) == 1:
        return Verdict(_winner(grid, title, cases), _gain(cases), lead, details, kind)
    if clear == len(cases):
        seeds = f'In {labels.of_all(clear, clear)} cases all their seeds lie above those of the next value.'
    else:
        overlapping = labels.of_all(len(cases) - clear, len(cases))
        seeds = f'In {overlapping} cases their seeds overlap those of the next value.'
    headline = f'Highest means: {_highest(cases)}. {seeds}'
    if kind is Kind.INCONCLUSIVE:
        headline = f'Inconclusive. {headline}'
    return Verdict(headline, '', lead, details, kind)


def _case(grid: GridRecord, row: tuple[str, ...]) -> _Case:
    *_, columns = grid.axes.values()
    found = {c: [grid.accuracy(run) for run in grid.select(*row, c)] for c in columns}
    seeds = {c: known for c, each in found.items() if (known := [a for a in each if not math.isnan(a)])}
    means = {c: grid.mean_accuracy(*row, c) for c in seeds}
    best, *others = sorted(seeds, key=means.__getitem__, reverse=True)
    is_clear = bool(others) and min(seeds[best]) > max(seeds[others[0]])
    values = (best, *others)
    return _Case(row, values, [means[c] for c in values], seeds[best], is_clear)


def _detail(case: _Case) -> str:
    """`Linear, n=12: 0.008 (0.885; seeds 0.864 to 0.907); next 0.016 (0.847); their seeds overlap.`"""
    where = ', '.join([labels.capitalised(labels.mechanism(case.row[0])), *map(short, case.row[1:])])
    spread = f'seeds {min(case.seeds):.3f} to {max(case.seeds):.3f}'
    text = f'{where}: {labels.amount(case.values[0])} ({case.means[0]:.3f}; {spread})'
    if len(case.values) > 1:
        text += f'; next {labels.amount(case.values[1])} ({case.means[1]:.3f})'
        text += '' if case.is_clear else '; their seeds overlap'
    return f'{text}.'


def _highest(cases: Sequence[_Case]) -> str:
    """`standard 0.008 at n=12 and 0.032 at n=24; linear 0.008`."""
    by_mechanism = {}
    for case in cases:
        places = by_mechanism.setdefault(case.row[0], {}).setdefault(labels.amount(case.values[0]), [])
        places.append(' '.join(map(short, case.row[1:])))
    parts = []
    for mechanism, places in by_mechanism.items():
        shown = list(places)
        if len(places) > 1:
            shown = [f'{value} at {labels.listed(at)}' for value, at in places.items()]
        parts.append(f'{labels.mechanism(mechanism)} {labels.listed(shown)}')
    return '; '.join(parts)


def _winner(grid: GridRecord, title: str, cases: Sequence[_Case]) -> str:
    """`32,000 steps beat 8,000 in all 6 cases by more than the seeds differ; 1 of 6 reaches 90% ...`."""
    best, other = map(labels.amount, cases[0].values)
    clear = sum(case.is_clear for case in cases)
    reaching = sum(case.means[0] >= grid.target for case in cases)
    subject = f'{best} {title} beat' if title.endswith('s') else f'{title.capitalize()} {best} beats'
    verb = 'reaches' if reaching == 1 else 'reach'
    return (
        f'{subject} {other} in {labels.of_all(clear, len(cases))} cases by more than the seeds differ; '
        f'{reaching} of {len(cases)} {verb} {labels.reaching(grid)}.'
    )


def _gain(cases: Sequence[_Case]) -> str:
    gains = sorted(case.means[0] - case.means[1] for case in cases)
    return f'The mean is higher by {gains[0]:.2f} to {gains[-1]:.2f}.'
