"""Makes a page of figures and tables from sweeps: python -m experiments.report SOURCE [SOURCE ...]

A source is the directory of a sweep, or a file of results such as results/figure1-laptop.jsonl. The program
compares their runs with the paper's Figure 1 and with the theory, and writes

    OUT/index.html        one page with everything; it works from disk and without a network
    OUT/tables.json       the page's tables, for other programs

    --out=DIR       where to write; by default SOURCE/report if the first source is a directory, else
                    build/report
    --static        writes OUT/figures/ too: every figure as PNG, PDF and SVG, for papers
    --export=DIR    writes the runs of each sweep to DIR/NAME.jsonl too, with thinned logs. Runs that are
                    already in the file stay; a newer state replaces an older one
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from experiments import command_line
from experiments.command_line import directory_problems, refuse
from experiments.reporting import page, records, sections
from experiments.reporting.chart import Chart
from experiments.reporting.records import GridRecord, RecordError
from experiments.sweeping import archive

_OUT = command_line.define_path('out', 'Directory of the page; by default SOURCE/report or build/report.')
_STATIC = flags.DEFINE_bool('static', False, 'Write every figure as PNG, PDF and SVG too.')
_EXPORT = command_line.define_path('export', 'Directory for one file of results per sweep.')

Say = Callable[[str], None]
"""Shows a line of progress."""


def main(argv):
    try:
        sources = [Path(command_line.local_path(word)) for word in argv[1:]]
    except ValueError as error:
        return refuse([str(error)])
    if not sources:
        return refuse(['a sweep is missing, such as sweeps/figure1-laptop or results/figure1-laptop.jsonl'])
    out = Path(_OUT.value or (sources[0] / 'report' if sources[0].is_dir() else 'build/report'))
    problems = directory_problems('out', out) + directory_problems('export', _EXPORT.value)
    names = [records.sweep_name(source) for source in sources]
    problems += [
        f'{names.count(name)} sweeps are called {name}; a report needs a different name for each'
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    try:
        with Console(stderr=True).status('reading the runs'):
            grids = records.read(sources)
    except (RecordError, OSError) as error:
        problems.append(str(error))
    if problems:
        return refuse(problems)
    try:
        if _EXPORT.value:
            for name in names:
                path = Path(_EXPORT.value) / f'{name}{archive.SUFFIX}'
                archive.write(path, [grid for grid in grids if grid.sweep == name])
                print(path)
        with _progress(len(grids)) as say:
            write(grids, out, _STATIC.value, say)
    except (RecordError, OSError) as error:
        print(f'Stopped: {error}.', file=sys.stderr)
        return 1
    print(out / 'index.html')
    return 0


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Say]:
    """Shows progress on stderr: a bar or, without a terminal, one line for each grid."""
    console = Console(stderr=True, highlight=False)
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task('drawing', total=total)

        def say(text: str) -> None:
            progress.update(bar, description=text, advance=1)
            if not console.is_terminal:
                console.print(text, markup=False, soft_wrap=True)

        yield say


def write(grids: list[GridRecord], out: Path, static: bool = False, say: Say = lambda text: None) -> None:
    """Writes a report, and replaces one that is already there.

    Args:
        grids: the grids, in the order of the page.
        out: the report's directory; created if needed.
        static: whether to write every figure as PNG, PDF and SVG too.
        say: receives a line about each finished grid.
    """
    out.mkdir(parents=True, exist_ok=True)
    described, tables = [], {}
    for grid in grids:
        title = f'{grid.sweep}-{grid.name}'
        section = sections.describe(grid)
        described.append(section)
        tables[title] = section.tables
        if static:
            _save(section.charts, out / 'figures', title)
        say(f'{title}: {len(grid.done):,} of {len(grid.runs):,} runs done, {len(section.charts)} figures')
    text = page.render(described, out)
    (out / 'tables.json').write_text(json.dumps(tables, indent=1) + '\n', encoding='utf-8')
    (out / 'index.html').write_text(text, encoding='utf-8')


def _save(charts: tuple[Chart, ...], directory: Path, title: str) -> None:
    """Writes a grid's figures for papers; only this loads matplotlib."""
    from experiments.reporting import static

    directory.mkdir(exist_ok=True)
    for chart in charts:
        static.save(chart, directory, f'{title}-{chart.name}')


if __name__ == '__main__':
    command_line.start(main)
