"""Cells of the paper's Figure 1 stand beside the runs of the same task, size and width, and no others."""

import json
from dataclasses import replace

import pytest
from ml_collections import ConfigDict

from effxf_jax.runs.directory import RunDirectory
from experiments.reporting import page, published, records, sections
from experiments.sweeping import cells
from tests.experiments.reporting.conftest import write_run

STRIDED = 'mechanism=sparse,pattern=strided,block_size=8'
# Of the two seeds at n = 6, by mechanism and width.
REACHED = {
    ('mechanism=standard', 64): (1.0, 0.99),
    ('mechanism=linear', 64): (0.1, 0.06),
    (STRIDED, 64): (0.6, 0.68),
    ('mechanism=standard', 128): (0.5, 0.7),
}


@pytest.fixture(scope='module')
def first_row(tmp_path_factory):
    axes = {
        'mechanism': ('mechanism=standard', 'mechanism=linear', STRIDED, 'mechanism=sliding_window,window=8'),
        'size': cells.values('n', 5, 6),
        'width': cells.values('dim', 48, 64, 128),
    }
    grid = cells.grid('experiments/ed.py:laptop', axes)
    fields = {'num_seeds': 2, 'side_by_side': 1, 'name': 'row', 'grids': {'edit_distance': grid}}
    directory = tmp_path_factory.mktemp('sweeps') / 'row'
    directory.mkdir()
    sweep = cells.make_sweep(ConfigDict({**cells.DEFAULTS, **fields}))
    (directory / 'sweep.json').write_text(json.dumps(sweep.declaration()))
    for cell in sweep.cells():
        experiment = cell.experiment
        mechanism, dim = cell.labels[0], experiment.model.dim
        reached = REACHED.get((mechanism, dim), (0.3, 0.3))[experiment.seed]
        if (mechanism, dim) == ('mechanism=linear', 128):  # not run
            RunDirectory(directory / cell.name).claim(experiment.record)
        else:
            write_run(directory / cell.name, experiment, 1, reached)
    (grid,) = records.read([directory])
    return grid


def test_cells_of_the_papers_sizes_and_widths_are_compared(first_row):
    found = {(c.mechanism, c.width): c for c in published.cells(first_row)}
    assert {cell.size for cell in found.values()} == {'n=6'}
    assert sorted(found) == sorted(
        [(m, f'dim={dim}') for m, dim in REACHED] + [(STRIDED, 'dim=128')]
    )  # not D = 48, nor windows, nor what was not run
    verdicts = {key: cell.verdict for key, cell in found.items()}
    assert verdicts['mechanism=standard', 'dim=64'] == 'same'  # 0.995; paper 0.999
    assert verdicts['mechanism=linear', 'dim=64'] == 'near'  # 0.080; paper 0.012
    assert verdicts[STRIDED, 'dim=64'] == 'better'  # 0.640; paper 0.385
    assert verdicts['mechanism=standard', 'dim=128'] == 'worse'  # 0.600; paper 0.999
    (row,) = (r for r in published.table(first_row) if r['mechanism'].startswith('sparse') and r['D'] == '64')
    assert (row['chain accuracy'], row['seeds'], row['paper']) == ('0.640', '0.600, 0.680', '0.385')


def test_a_panel_for_each_of_the_papers_mechanisms_has_its_curve_and_ours(first_row):
    panels = published.beside_paper(first_row).panels
    assert [panel.title for panel in panels] == [f'{m}, n=6, L=73' for m in ('standard', 'linear', 'sparse')]
    by_name = {series.name: series for series in panels[0].series if series.line}
    papers = {p.x: p.y for p in by_name['paper'].points}
    assert papers == pytest.approx({64: 0.999, 128: 0.999})
    ours = [(p.x, p.y) for p in by_name['mechanism=standard'].points]
    assert dict(ours) == pytest.approx({64: 0.995, 128: 0.6})
    (faint,) = (series for series in panels[0].series if series.is_faint)
    assert sorted(p.y for p in faint.points) == [0.5, 0.7, 0.99, 1.0]


def test_the_page_shows_the_table(first_row, tmp_path):
    text = page.render([sections.describe(first_row)], tmp_path)
    assert 'Beside Figure 1 of the paper' in text
    assert 'no more than 2% apart' in text


def test_a_report_has_figure_and_table_only_where_there_are_cells_to_compare(first_row, grid):
    title = 'Beside Figure 1 of the paper'
    section = sections.describe(first_row)
    assert title in section.tables
    assert section.charts[0].name == 'beside_paper'
    without = sections.describe(grid)  # of a size that the paper has not
    assert title not in without.tables
    assert 'beside_paper' not in [chart.name for chart in without.charts]
    assert published.cells(replace(first_row, metric='answer_accuracy')) == []
