"""The report as one HTML page that works from disk: verdicts, interactive figures, tables and runs."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from experiments.reporting import interactive, labels, published, run_table
from experiments.reporting.chart import Chart, Key, Panel
from experiments.reporting.records import GridRecord
from experiments.reporting.sections import Section
from experiments.reporting.verdicts import Kind

_NOTES = {
    'Width and cost': 'D: where the isotonic regression of mean accuracy on width reaches the target. '
    f'Bootstrap over seeds: the 95% interval of D, and in brackets the number of seeds. {labels.COVERAGE} '
    'Least MFLOPs: of a forward pass over the longest sequence, by the cheapest model whose own mean reaches '
    'the target. Where a wider model falls short again, its width may be below D.',
    'Growth of the needed width with length': 'Least squares over the sizes whose D is known. The interval '
    'contains that of the bootstrap over seeds and that of the residuals. Exponent of the bound: from three '
    'sizes on.',
    'Ratio of needed widths': 'The D of the greater size over the D of the smaller one, with its bootstrap '
    'interval. Where one of them is only bounded: what the seeds leave possible.',
    'Beside Figure 1 of the paper': 'The mean of the seeds against the cell of Figure 1 with the same size '
    f'and width. Same: no more than {published.SAME:.0%} apart; near: no more than {published.NEAR:.0%}.',
    'Examples until an accuracy': 'At the first grading during training that is at the accuracy or above; in '
    'brackets, how many seeds have such a grading.',
}

_HEADINGS = {
    Kind.GROWTH: 'Growth of the needed width with length',
    Kind.RATIO: 'Needed width by length and by locality',
    Kind.COMPARISON: 'Comparisons',
    Kind.INCONCLUSIVE: 'Inconclusive',
    Kind.SEARCH: 'Learning rates',
}

_FILES = Path(__file__).parent

# Figures that are shown at once; the first grid that has one also shows its width and cost.
_MAIN = ('width_over_length', 'width_over_locality', 'width_over_span', 'accuracy')
_FIRST = 'width_and_cost'


def render(sections: Sequence[Section], out: Path) -> str:
    """The page.

    Args:
        sections: in the order of the table of runs; the page groups them by what their verdicts decide.
        out: the directory of the page, from which run directories are linked.
    """
    runs = [run for section in sections for run in section.grid.runs]
    states = {state: sum(run.state == state for run in runs) for state in run_table.STATES}
    summary = ', '.join(f'{count:,} {state}' for state, count in states.items() if count)
    groups = {kind: [s for s in sections if s.verdict.kind == kind] for kind in Kind}
    groups = {kind: found for kind, found in groups.items() if found}
    ordered = [section for found in groups.values() for section in found]
    main = _main_charts(ordered)
    charts = [chart for s in ordered for chart in (*main[_key_of(s)], *_others(s, main))]
    table = run_table.data((section.grid for section in sections), out)
    values = [row['values'] for row in table['rows']]
    return Template((_FILES / 'page.html').read_text(encoding='utf-8')).substitute(
        summary=f'{len(runs):,} runs: {summary}' if runs else 'No runs',
        contents=''.join(_contents(kind, found) for kind, found in groups.items()),
        sections=''.join(_group(kind, found, main) for kind, found in groups.items()),
        filters=''.join(_filter(name, values) for name in ('sweep', 'grid', 'task', 'mechanism', 'state')),
        charts=_json([[interactive.figure(panel) for panel in chart.panels] for chart in charts]),
        runs=_json(table),
        plotly=interactive.script() if charts else '',
        script=(_FILES / 'page.js').read_text(encoding='utf-8'),
    )


_Main = Mapping[tuple[str, str], Sequence[Chart]]
"""The figures that are shown at once, by the sweep and the name of their grid."""


def _key_of(section: Section) -> tuple[str, str]:
    return section.grid.sweep, section.grid.name


def _main_charts(sections: Sequence[Section]) -> _Main:
    """The figures of each section that are shown at once."""
    first = next((s for s in sections if any(chart.name == _FIRST for chart in s.charts)), None)
    return {
        _key_of(s): [c for c in s.charts if c.name in _MAIN or (s is first and c.name == _FIRST)]
        for s in sections
    }


def _contents(kind: Kind, sections: Sequence[Section]) -> str:
    """Links to the grids whose verdicts decide the same, with their answers."""
    items = ''.join(
        f'<li><a href="#{_anchor(s.grid)}">{_text(labels.title(s.grid))}</a> '
        f'<small>{_text(s.grid.sweep)}</small> {_text(s.verdict.headline)}</li>'
        for s in sections
    )
    return f'<h3><a href="#{_group_anchor(kind)}">{_HEADINGS[kind]}</a></h3><ul>{items}</ul>'


def _group(kind: Kind, sections: Sequence[Section], main: _Main) -> str:
    articles = ''.join(_section(section, main) for section in sections)
    return f'<section id="{_group_anchor(kind)}"><h2>{_HEADINGS[kind]}</h2>{articles}</section>'


def _section(section: Section, main: _Main) -> str:
    grid = section.grid
    done, failed = len(grid.done), sum(run.state == 'failed' for run in grid.runs)
    details = ''.join(f'<li>{_text(detail)}</li>' for detail in section.verdict.details)
    shown = ''.join(map(_chart, main[_key_of(section)]))
    tables = ''.join(
        f'<h4>{_text(title)}</h4>{_table(rows)}<p class="note">{_text(_NOTES[title])}</p>'
        for title, rows in section.tables.items()
        if rows
    )
    return (
        f'<article id="{_anchor(grid)}">'
        f'<h3>{_text(labels.title(grid))} <small>{_text(grid.sweep)}</small></h3>'
        f'<div class="verdict"><p><strong>{_text(section.verdict.headline)}</strong> '
        f'{_text(section.verdict.more)}</p>'
        f'<p class="note">{_text(section.verdict.lead)}</p><ul>{details}</ul>'
        f'<p class="note">{done:,} of {len(grid.runs):,} runs done, {failed:,} failed.</p></div>'
        f'{shown}{_more(_others(section, main))}{tables}</article>'
    )


def _others(section: Section, main: _Main) -> list[Chart]:
    return [chart for chart in section.charts if chart not in main[_key_of(section)]]


def _more(charts: Sequence[Chart]) -> str:
    """Figures that a reader may open."""
    if not charts:
        return ''
    names = ', '.join(chart.title.partition(': ')[2] for chart in charts)
    return f'<details><summary>More figures: {_text(names)}</summary>{"".join(map(_chart, charts))}</details>'


def _chart(chart: Chart) -> str:
    """A figure without its panels' insides, which plotly draws when they come into sight."""
    keys = ''.join(map(_key, chart.keys))
    title = f'<span>{_text(chart.legend_title)}</span>' if chart.legend_title else ''
    signs = ''.join(f'<span>{interactive.swatch(key)} {_text(key.text)}</span>' for key in chart.signs)
    legend = f'<div class="legend">{title}{keys}</div>' if keys else ''
    legend += f'<div class="legend signs">{signs}</div>' if signs else ''
    panels = ''.join(_panel(chart, panel) for panel in chart.panels)
    return (
        f'<figure class="chart" data-name="{chart.name}"><h4>{_text(chart.title)}</h4>{legend}'
        f'<div class="panels" style="--columns:{chart.columns}">{panels}</div>'
        f'<figcaption>{_text(chart.caption)}</figcaption></figure>'
    )


def _key(key: Key) -> str:
    text = _text(key.text or key.name)
    return (
        f'<button type="button" aria-pressed="true" data-key="{_text(key.name)}">'
        f'{interactive.swatch(key)}{text}</button>'
    )


def _panel(chart: Chart, panel: Panel) -> str:
    title = '<br>'.join(map(_text, panel.title.split('\n')))
    notes = '<br>'.join(map(_text, panel.notes))
    height = interactive.height(chart, panel)
    label = _text(f'{chart.title}. {panel.title}'.replace('\n', ', '))
    return (
        f'<div class="panel">{f"<h5>{title}</h5>" if title else ""}'
        f'<div class="plot" role="img" aria-label="{label}" style="height:{height}px"></div>'
        f'{f"<p>{notes}</p>" if notes else ""}</div>'
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ''.join(f'<th scope="col"><button>{_text(title)}</button></th>' for title in rows[0])
    body = ''.join(f'<tr>{"".join(_cell(*item) for item in row.items())}</tr>' for row in rows)
    return (
        '<div class="wide"><table class="sortable">'
        f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(title: str, value: Any) -> str:
    """A cell, with the number that it is sorted by where there is one."""
    text = labels.readable(str(value)) if title == 'mechanism' else str(value)
    number = run_table.number(text)
    value = '' if number is None else f' data-value="{number}"'
    return f'<td{value}>{_text(text)}</td>'


def _filter(name: str, values: Iterable[Mapping[str, Sequence[str]]]) -> str:
    found = dict.fromkeys(value for each in values for value in each[name])
    options = ''.join(f'<option>{_text(value)}</option>' for value in found)
    return (
        f'<label>{name} <select data-filter="{name}"><option value="">all</option>{options}</select></label>'
    )


def _anchor(grid: GridRecord) -> str:
    return quote(f'{grid.sweep}-{grid.name}', safe='')


def _group_anchor(kind: Kind) -> str:
    return f'verdicts-{kind.name.lower()}'


def _json(value: Any) -> str:
    """JSON that no text in it can end the script element of."""
    return json.dumps(value, separators=(',', ':'), ensure_ascii=False).replace('<', '\\u003c')


def _text(value: Any) -> str:
    return html.escape(str(value))
