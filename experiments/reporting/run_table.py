"""The table of all runs as data for the page: a row for each cell, which opens to its seeds."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.reporting import labels
from experiments.reporting.records import GridRecord, Run
from experiments.sweeping.cells import short

# What a cell of a table is sorted by, where it is a number or begins with one.
_NUMBER = re.compile(r'(?:above |at most |reached at )?(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?=,? |$)')

_LAYOUTS = {
    'answers': ('answer_accuracy', 1, '.3f'),
    'chains': ('chain_accuracy', 1, '.3f'),
    'teacher-forced': ('teacher_forced_accuracy', 1, '.3f'),
    'parameters': ('num_params', 1, ',.0f'),
    'MFLOPs': ('forward_flops', 1e6, ',.3f'),
    'state size': ('state_size', 1, ',.0f'),
    'steps': ('train_steps', 1, ',.0f'),
    'different test problems': ('distinct_test_prompts', 1, ',.0f'),
}
"""Columns of a result: its field, the unit and how it is written; a cell shows the mean of its seeds."""

STATES = ('done', 'failed', 'unfinished', 'missing', 'not needed')
"""What a run may be, in the order of the table."""


def number(text: str) -> float | None:
    """What a text is sorted by, where it is a number or begins with one."""
    found = _NUMBER.match(text)
    return float(found[1].replace(',', '')) if found else None


def data(grids: Iterable[GridRecord], out: Path) -> dict[str, Any]:
    """The table as JSON.

    Args:
        grids: whose runs it lists.
        out: the directory of the page, from which run directories are linked.

    Returns:
        `columns`, the titles; `rows`, those with a done run first, each with the `values` that filters choose
        by, with `cells` and with the `cells` of its `seeds`: a text, or a text and a number to sort by, or a
        text with a link.
    """
    rows = [_row(grid, runs, out) for grid in grids for runs in _cells(grid).values()]
    rows.sort(key=lambda row: min(map(STATES.index, row['values']['state'])))
    columns = list(rows[0].pop('titles')) if rows else []
    for row in rows:
        row.pop('titles', None)
    return {'columns': columns, 'rows': rows}


def _cells(grid: GridRecord) -> dict[tuple[str, ...], list[Run]]:
    """The runs of a grid by their labels."""
    cells = {}
    for run in grid.runs:
        cells.setdefault(run.labels, []).append(run)
    return cells


def _row(grid: GridRecord, runs: list[Run], out: Path) -> dict[str, Any]:
    cell = cell_texts(grid, runs)
    tops = {run.cell: run.top for run in runs}
    link = _link(*tops.popitem(), out) if len(tops) == 1 else ''
    seeds = [
        [*map(_sortable, cell_texts(grid, [run]).values()), _link(run.name, run.path, out)] for run in runs
    ]
    return {
        'titles': [*cell, 'run'],
        'values': {
            'sweep': [grid.sweep],
            'grid': [grid.name],
            'task': [grid.task],
            'mechanism': [labels.mechanism(runs[0].labels[0])],
            'state': sorted({run.state for run in runs}),
        },
        'cells': [*map(_sortable, cell.values()), link],
        'seeds': seeds,
    }


def cell_texts(grid: GridRecord, runs: list[Run]) -> Mapping[str, str]:
    """The row of a cell or, given one run, of a seed: texts by column, the most wanted first.

    A narrow screen shows the columns from `grid` to `chains`.
    """
    run = next((run for run in runs if run.experiment), runs[0])
    experiment = run.experiment
    others = run.labels[1:-1] if grid.is_of_widths else run.labels[1:]
    width = labels.value(run.labels[-1]) if grid.is_of_widths else ''
    states = [run.state for run in runs]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    results = {title: _mean(runs, *layout) for title, layout in _LAYOUTS.items()}
    texts = {
        'sweep': grid.sweep,
        'grid': grid.name if grid.name == grid.task else f'{grid.name} ({grid.task})',
        'mechanism': labels.mechanism(run.labels[0]),
        'cell': ' '.join(map(short, others)),
        'width': experiment.model.dim if experiment else width,
        'seed': run.seed if len(runs) == 1 else f'all {len(runs)}',
        'answers': results.pop('answers'),
        'chains': results.pop('chains'),
        'state': states[0] if len(counts) == 1 else ', '.join(f'{s}: {n}' for s, n in counts.items()),
        **results,
        'learning rate': experiment.train.learning_rate if experiment else '',
        'L': experiment.task.max_length if experiment else '',
        'devices': ', '.join(sorted({(run.result or {}).get('devices', '') for run in runs} - {''})),
        'why': '; '.join(sorted({run.error for run in runs if run.error})),
    }
    return {title: str(text) for title, text in texts.items()}


def _mean(runs: list[Run], field: str, unit: float, layout: str) -> str:
    """Over the runs whose result has the field; empty where none has."""
    values = [run.result[field] for run in runs if run.result and field in run.result]
    return format(math.fsum(values) / len(values) / unit, layout) if values else ''


def _sortable(text: str) -> str | list:
    value = number(text)
    return text if value is None else [text, value]


def _link(name: str, path: Path | None, out: Path) -> str | dict[str, str]:
    """The name of a run or a cell, with the address of its directory where it is there."""
    if path is None or not path.is_dir():
        return name
    return {'text': name, 'link': quote(Path(os.path.relpath(path, out)).as_posix())}
