"""The report as one self-contained HTML page."""

import base64
import html
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from experiments.reporting import plotting
from experiments.reporting.records import GridRecord, Run
from experiments.sweeping.cells import short

_CAPTIONS = {
    'heat_maps': 'Accuracy by width and size; where the paper has the same, its Figure 1 below. Sizes and '
    'budgets differ: compare shapes.',
    'accuracy_over_width': 'Every seed, and the isotonic curve of their mean.',
    'width_over_length': 'The width that reaches the target; bars: bootstrap over seeds. Fitted exponents.',
    'width_over_locality': 'The width that reaches the target, as a step looks further back.',
    'width_over_span': 'The width that reaches the target, over the size of blocks and windows.',
    'over_bound': 'The same over the least width that the information bottleneck allows.',
    'cost': 'Accuracy against what a forward pass over the longest sequence costs, width by width.',
    'first_errors': 'Where along the chain the first error stands, at the widths that all mechanisms have.',
    'learning_curves': 'Accuracy while training, at the greatest width.',
    'accuracy': 'Accuracy, seeds as points and their mean.',
}

_NOTES = {
    'Width and cost': 'D is read where the isotonic curve of the mean reaches the target. The least cost is '
    'of the cheapest width that was run and whose own mean reaches it: where a greater width falls short '
    'again, this may be below D. FLOPs are of a forward pass over the longest sequence.',
    'Growth of the needed width with length': 'By least squares over the sizes whose D is known. The '
    'interval holds that of the bootstrap over seeds and what the line leaves unexplained.',
    'Ratio of needed widths': 'Of the greater size to the smaller one, with the interval of both bootstraps; '
    'where not both widths are known, what their seeds leave possible.',
}

_STATES = ('done', 'failed', 'unfinished', 'missing', 'not needed')

# What a cell is sorted by, where it is a number, or begins with one.
_NUMBER = re.compile(r'(?:above |at most |reached at )?(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?=,? |$)')


class Section(NamedTuple):
    """A grid's part of the page.

    Attributes:
        grid: its runs.
        images: SVG files by the figure's name.
        tables: rows by title.
    """

    grid: GridRecord
    images: Mapping[str, Path]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


def render(sections: Sequence[Section], out: Path) -> str:
    """The page.

    Args:
        sections: in this order.
        out: the directory that it is to lie in, from which run directories are linked.
    """
    template = Template((Path(__file__).parent / 'page.html').read_text())
    runs = [(section.grid, run) for section in sections for run in section.grid.runs]
    states = {state: sum(run.state == state for _, run in runs) for state in _STATES}
    summary = ', '.join(f'{count:,} {state}' for state, count in states.items() if count)
    return template.substitute(
        summary=f'{len(runs):,} runs: {summary}' if runs else 'No runs',
        contents=''.join(f'<a href="#{_anchor(s.grid)}">{_text(_name(s.grid))}</a> ' for s in sections),
        sections=''.join(map(_section, sections)),
        runs=_runs_table(runs, out),
        tasks=_options(grid.task for grid, _ in runs),
        grids=_options(grid.name for grid, _ in runs),
        mechanisms=_options(short(run.labels[0]) for _, run in runs),
        states=_options(run.state for _, run in runs),
    )


def _section(section: Section) -> str:
    grid = section.grid
    done, failed = len(grid.done), sum(run.state == 'failed' for run in grid.runs)
    parts = [
        f'<section id="{_anchor(grid)}"><h2>{_text(_name(grid))}</h2>',
        f'<p>{done} of {len(grid.runs)} runs done, {failed} failed.</p>',
    ]
    for title, rows in section.tables.items():
        if rows:
            parts.append(f'<h3>{_text(title)}</h3>{_table(rows)}<p class="note">{_text(_NOTES[title])}</p>')
    for name, path in section.images.items():
        data = base64.b64encode(path.read_bytes()).decode()
        caption = _text(_CAPTIONS[name])
        parts.append(
            f'<figure><img alt="{_text(_name(grid))}. {caption}" src="data:image/svg+xml;base64,{data}">'
            f'<figcaption>{caption}</figcaption></figure>'
        )
    return ''.join([*parts, '</section>'])


def _runs_table(runs: Sequence[tuple[GridRecord, Run]], out: Path) -> str:
    body, titles = [], []
    for grid, run in runs:
        cells = _run_cells(grid, run, out)
        titles = list(cells)
        body.append(
            f'<tr class="{run.state.replace(" ", "-")}" data-state="{run.state}" '
            f'data-task="{_text(grid.task)}" data-grid="{_text(grid.name)}" '
            f'data-mechanism="{_text(short(run.labels[0]))}">{"".join(cells.values())}</tr>'
        )
    return f'<table id="runs"><thead><tr>{_head(titles)}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _run_cells(grid: GridRecord, run: Run, out: Path) -> dict[str, str]:
    """A run's row, by column; what a reader looks for comes first, since a phone shows no more."""
    link = _text(run.path.relative_to(grid.sweep))
    if run.path.exists():
        link = f'<a href="{_text(os.path.relpath(run.path, out))}">{link}</a>'
    result = lambda field, layout: _cell(format(run.result[field], layout) if run.result else None)
    experiment = run.experiment
    others = run.labels[1:-1] if grid.is_of_widths else run.labels[1:]
    width = plotting.value(run.labels[-1]) if grid.is_of_widths else None
    return {
        'mechanism': _cell(short(run.labels[0])),
        'cell': _cell(' '.join(map(short, others))),
        'width': _cell(experiment.model.dim if experiment else width),
        'answers': result('answer_accuracy', '.3f'),
        'chains': result('chain_accuracy', '.3f'),
        'state': _cell(run.state),
        'teacher-forced': result('teacher_forced_accuracy', '.3f'),
        'parameters': result('num_params', ','),
        'FLOPs': result('forward_flops', ','),
        'state size': result('state_size', ','),
        'steps': result('train_steps', ','),
        'learning rate': _cell(experiment.train.learning_rate if experiment else None),
        'seed': _cell(run.seed),
        'L': _cell(experiment.task.max_length if experiment else None),
        'devices': f'<td>{_text((run.result or {}).get("devices", ""))}</td>',  # once not recorded
        'run': f'<td>{link}</td>',
        'why': _cell(run.error),
        'grid': _cell(grid.name),
        'sweep': _cell(grid.sweep.resolve().name),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    body = ''.join(f'<tr>{"".join(map(_cell, row.values()))}</tr>' for row in rows)
    head = f'<thead><tr>{_head(rows[0])}</tr></thead>'
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _head(titles: Iterable[str]) -> str:
    return ''.join(f'<th scope="col"><button>{_text(title)}</button></th>' for title in titles)


def _cell(value: Any) -> str:
    """A cell, with what to sort it by where that is a number."""
    text = '' if value is None else str(value)
    found = _NUMBER.match(text)
    number = f' data-value="{found[1].replace(",", "")}"' if found else ''
    return f'<td{number}>{_text(text)}</td>'


def _options(names: Iterable[str]) -> str:
    return ''.join(f'<option>{_text(name)}</option>' for name in dict.fromkeys(names))


def _name(grid: GridRecord) -> str:
    return f'{grid.sweep.resolve().name}: {grid.name}'


def _anchor(grid: GridRecord) -> str:
    return html.escape(f'{grid.sweep.resolve().name}-{grid.name}')


def _text(value: Any) -> str:
    return html.escape(str(value))
