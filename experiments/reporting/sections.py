"""A grid's part of a report: its verdict, figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.reporting import (
    analysis,
    examples_to,
    figures,
    published,
    value_verdicts,
    verdicts,
    width_figures,
)
from experiments.reporting.chart import Chart
from experiments.reporting.records import GridRecord
from experiments.reporting.verdicts import Verdict
from experiments.reporting.width_and_cost import width_and_cost


class Section(NamedTuple):
    """A grid's part of a report.

    Attributes:
        grid: its runs.
        verdict: what it shows, in words.
        charts: its figures, the main ones first.
        tables: rows by title.
    """

    grid: GridRecord
    verdict: Verdict
    charts: Sequence[Chart]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


def describe(grid: GridRecord) -> Section:
    """A grid's part of a report."""
    if not grid.done:
        return Section(grid, verdicts.verdict(grid, None), (), {})
    if not grid.is_of_widths:
        chart = figures.by_last_axis(grid)
        found = examples_to.table(grid)
        tables = {'Examples until an accuracy': found} if found else {}
        return Section(grid, value_verdicts.verdict(grid), (chart,) if chart else (), tables)
    found = analysis.widths(grid)
    charts: list[Chart | None] = [published.beside_paper(grid)]
    if grid.is_of_one_size:
        charts.append(width_figures.width_over_length(grid, found))
        charts.append(width_and_cost(grid, found))
    if grid.is_of_spans:
        charts.append(width_figures.width_over_span(grid, found))
    elif grid.is_of_localities:
        charts.append(width_figures.width_over_locality(grid, found))
    charts += [figures.accuracy_over_width(grid), figures.heat_maps(grid)]
    if grid.is_of_one_size:
        charts.append(width_figures.over_bound(grid, found))
    charts += [figures.cost_frontier(grid), figures.first_errors(grid), figures.learning_curves(grid)]
    beside = published.table(grid)
    tables = {'Beside Figure 1 of the paper': beside} if beside else {}
    tables |= analysis.tables(grid, found)
    return Section(grid, verdicts.verdict(grid, found), tuple(filter(None, charts)), tables)
