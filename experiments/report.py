"""Figures, tables and a page of sweeps: python -m experiments.report DIR [DIR ...]

Reads the run directories of sweeps, the bundled values of the paper's Figure 1, and the theory; writes

    OUT/index.html        one page with all of it, which works from disk
    OUT/figures/          every figure as PNG, PDF and SVG
    OUT/tables.json       the figures in the tables, for machines

    --out=DIR       by default DIR/report, of the first DIR
    --export=DIR    copies the small files of all runs there too, without checkpoints and with logs thinned,
                    to be kept or published; a report can be made of them again
"""

import functools
import json
import sys
from pathlib import Path

from absl import app, flags, logging
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from experiments.command_line import directory_problems, parse_flags, refuse
from experiments.reporting import analysis, figures, page, plotting, records, width_figures
from experiments.reporting.records import GridRecord, RecordError

_OUT = flags.DEFINE_string('out', None, 'Where to write; by default DIR/report, of the first DIR.')
_EXPORT = flags.DEFINE_string('export', None, "Where to copy the runs' small files.")

# Without dates, so that the same runs make the same files.
_FORMATS = {'png': {}, 'pdf': {'CreationDate': None}, 'svg': {'Date': None}}


def main(argv):
    directories = [Path(word) for word in argv[1:]]
    if not directories:
        return refuse(['a directory of a sweep is missing, such as sweeps/figure1-laptop'])
    out = Path(_OUT.value or directories[0] / 'report')
    problems = directory_problems('out', out) + directory_problems('export', _EXPORT.value)
    names = [directory.resolve().name for directory in directories]
    problems += [
        f'{names.count(name)} directories are called {name}, by which a report tells them apart'
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    try:
        grids = records.read(directories)
    except (RecordError, OSError) as error:
        problems.append(str(error))
    if problems:
        return refuse(problems)
    try:
        if _EXPORT.value:
            for directory in directories:
                name = directory.resolve().name
                print(f'{records.export(directory, Path(_EXPORT.value) / name)} runs copied of {name}')
        write(grids, out)
    except (RecordError, OSError) as error:
        print(f'Stopped: {error}.', file=sys.stderr)
        return 1
    print(out / 'index.html')
    return 0


def write(grids: list[GridRecord], out: Path) -> None:
    """Writes a report, over one that is there."""
    plotting.style()
    (out / 'figures').mkdir(parents=True, exist_ok=True)
    sections, machine = [], {}
    for grid in grids:
        drawn, tables = _draw(grid) if grid.done else ({}, {})
        title = f'{grid.sweep.resolve().name}-{grid.name}'
        images = {name: _save(figure, out / 'figures', f'{title}-{name}') for name, figure in drawn.items()}
        sections.append(page.Section(grid, images, tables))
        machine[title] = tables
    (out / 'tables.json').write_text(json.dumps(machine, indent=1) + '\n')
    (out / 'index.html').write_text(page.render(sections, out))


def _draw(grid: GridRecord) -> tuple[dict[str, Figure], dict]:
    """The figures and tables of a grid."""
    if not grid.is_of_widths:
        return {'accuracy': figures.by_last_axis(grid)}, {}
    found = analysis.widths(grid)
    drawn = {
        'heat_maps': figures.heat_maps(grid),
        'accuracy_over_width': figures.accuracy_over_width(grid),
    }
    if grid.is_of_localities:
        drawn['width_over_locality'] = width_figures.width_over_locality(grid, found)
    if grid.is_of_spans:
        drawn['width_over_span'] = width_figures.width_over_span(grid, found)
    if grid.is_of_one_size:
        drawn['width_over_length'] = width_figures.width_over_length(grid, found)
        drawn['over_bound'] = width_figures.over_bound(grid, found)
    drawn |= {
        'cost': figures.cost_frontier(grid),
        'first_errors': figures.first_errors(grid),
        'learning_curves': figures.learning_curves(grid),
    }
    return drawn, analysis.tables(grid, found)


def _save(figure: Figure, directory: Path, stem: str) -> Path:
    """Writes a figure in every format; the SVG's path."""
    for suffix, metadata in _FORMATS.items():
        figure.savefig(directory / f'{stem}.{suffix}', metadata=metadata)
    plt.close(figure)
    return directory / f'{stem}.svg'


if __name__ == '__main__':
    logging.set_verbosity(logging.WARNING)
    app.run(main, flags_parser=functools.partial(parse_flags, check=lambda config, values: []))
