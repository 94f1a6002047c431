"""The figures of `python -m experiments.dependencies`, as plain values and as a table."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from effxf_jax.dependencies import READINGS, Summary, mean, quantile, share_within

STEPS_BACK = (1, 2, 3, 5, 8)
TOKENS_BACK = (16, 32, 64, 128, 256)


def describe(summary: Summary) -> dict:
    """All figures of a data set as plain values; None for the mean of nothing."""
    return {
        'problems': summary.chains,
        'tokens_per_problem': _spread(summary.lengths),
        'steps_per_problem': _spread(summary.steps),
        'operands': summary.operands,
        'ambiguous_operands': summary.ambiguous,
        'operands_from_nowhere': summary.homeless,
        **{
            reading: {
                **{name: _spread(counts) for name, counts in measured._asdict().items()},
                'local_in_steps': {m: _plain(share_within(measured.step_reach, m)) for m in STEPS_BACK},
                'local_in_tokens': {m: _plain(share_within(measured.token_reach, m)) for m in TOKENS_BACK},
            }
            for reading, measured in summary.readings.items()
        },
    }


def _spread(counts: Mapping[int, int]) -> dict:
    """Mean, percentiles and maximum of counted values, and how often each occurs."""
    values = {'mean': mean(counts)}
    values |= {f'percentile_{round(100 * share)}': quantile(counts, share) for share in (0.5, 0.9, 0.99)}
    values['maximum'] = max(counts, default=math.nan)
    return {name: _plain(value) for name, value in values.items()} | {'counts': sorted(counts.items())}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def table(summaries: Mapping[str, Summary]) -> Table:
    """A table with a column for each data set."""
    caption = (
        f'a - b: by {READINGS[0]} and by {READINGS[1]} origins. Live: later steps still use it. '
        'Steps that use no earlier result are local within any number of steps; '
        'in tokens, every operand counts.'
    )
    table = Table('', title='Where the operands of steps come from', caption=caption)
    for name in summaries:
        table.add_column(escape(name), justify='right')
    for label, cell in _PLAIN_ROWS.items():
        table.add_row(label, *map(cell, summaries.values()))
    for section in _sections():
        table.add_section()
        for row in section:
            table.add_row(row.label, *(_of_both(row, summary) for summary in summaries.values()))
    return table


_PLAIN_ROWS = {
    'problems': lambda summary: f'{summary.chains:,}',
    'tokens a problem, median': lambda summary: f'{quantile(summary.lengths, 0.5):,}',
    'steps a problem, mean': lambda summary: f'{mean(summary.steps):.2f}',
    'steps a problem, most': lambda summary: f'{max(summary.steps):,}',
    'steps that use no earlier result': lambda summary: _percent(
        share_within(summary.readings[READINGS[0]].step_reach, 0)
    ),
    'operands': lambda summary: f'{summary.operands:,}',
    'with several possible origins': lambda summary: _percent(_ratio(summary.ambiguous, summary.operands)),
    'without an origin in the text': lambda summary: _percent(_ratio(summary.homeless, summary.operands)),
}


class _Row(NamedTuple):
    """A row of the table: what is computed from which counts of `Measured`, and how it is written."""

    label: str
    counts: str
    measure: Callable[[Mapping[int, int]], float]
    layout: str = '{:,}'


def _sections() -> Iterator[list[_Row]]:
    """Yields the rows of each part of the table."""
    percentiles = {'median': 0.5, '90th percentile': 0.9, '99th percentile': 0.99}
    for label, counts in ('steps back', 'steps_back'), ('tokens back', 'tokens_back'):
        yield [
            _Row(f'{label}, {title}', counts, partial(quantile, share=share))
            for title, share in percentiles.items()
        ]
    for label, counts in ('live results', 'live_results'), ('live results and prompt', 'live_values'):
        yield [
            _Row(f'{label}, mean', counts, mean, '{:.2f}'),
            _Row(f'{label}, 90th percentile', counts, partial(quantile, share=0.9)),
            _Row(f'{label}, most', counts, partial(quantile, share=1)),
        ]
    for unit, counts, distances in ('step', 'step_reach', STEPS_BACK), ('token', 'token_reach', TOKENS_BACK):
        yield [
            _Row(
                f'steps local within {m} {unit}{"s" * (m > 1)}',
                counts,
                partial(share_within, most=m),
                '{:.1%}',
            )
            for m in distances
        ]


def _of_both(row: _Row, summary: Summary) -> str:
    """The cell of a row: one value, or two where the readings differ."""
    values = [row.measure(getattr(summary.readings[reading], row.counts)) for reading in READINGS]
    written = [row.layout.format(value) for value in values if not math.isnan(value)]
    return ' - '.join(dict.fromkeys(written))


def _ratio(count: int, total: int) -> float:
    return count / total if total else math.nan


def _percent(share: float) -> str:
    return '' if math.isnan(share) else f'{share:.1%}'
