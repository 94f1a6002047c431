"""A chart keeps the panels that have data, and both renderers draw all of it."""

import itertools
import math

import pytest
from matplotlib import pyplot as plt
from plotly import graph_objects

from experiments.reporting import interactive, records, sections, static
from experiments.reporting.chart import Axis, Key, Panel, Point, Series, apart, chart, padded, round_ticks


def panel(title, *names):
    series = tuple(Series(name, (Point(1, 2),), '#000000', 'circle') for name in names)
    return Panel(title, Axis('x'), Axis('y'), series)


def test_empty_panels_and_keys_of_what_is_not_drawn_are_left_out():
    keys = [Key(name, '#000000') for name in 'ab']
    made = chart('name', 'title', 'caption', [panel('full', 'a'), panel('empty')], keys=keys)
    assert [shown.title for shown in made.panels] == ['full']
    assert [key.name for key in made.keys] == ['a']
    assert chart('name', 'title', 'caption', [panel('empty')]) is None


def test_a_sign_is_explained_only_where_it_is_drawn():
    signs = [Key('', '#000000', marker, is_open=is_open) for marker in ('circle', 'x') for is_open in (0, 1)]
    made = chart('name', 'title', 'caption', [panel('full', 'a')], signs=signs)
    assert made.signs == (signs[0],)


def test_panels_fill_their_rows_evenly():
    made = chart('name', 'title', 'caption', [panel(str(number), 'a') for number in range(5)])
    assert made.columns == 3  # and two below, rather than four and one


def test_labels_of_a_logarithmic_axis_do_not_meet():
    limits = padded([8, 64])
    kept = apart([8, 12, 16, 20, 24, 32, 40, 48, 64], limits, 0.08)
    steps = [math.log(b / a) for a, b in itertools.pairwise(kept)]
    assert min(steps) >= 0.08 * math.log(limits[1] / limits[0])
    assert kept[0] == 8
    assert len(kept) >= 6


@pytest.mark.parametrize(
    'limits, ticks',
    [
        ((0.08, 6), [0.1, 0.2, 0.5, 1, 2, 5]),
        ((0.5, 5e3), [1, 10, 100, 1000]),
        ((2.9, 5.1), [3, 4, 5]),
    ],
)
def test_ticks_are_round_numbers(limits, ticks):
    assert round_ticks(limits) == ticks


@pytest.fixture(scope='module')
def charts(made_up, others):
    return [made for grid in records.read([made_up, others]) for made in sections.describe(grid).charts]


def test_every_chart_is_a_figure_of_plotly_with_hover_text_on_every_measured_point(charts):
    assert len(charts) >= 14
    for made in charts:
        for each in made.panels:
            drawn = interactive.figure(each)
            graph_objects.Figure(drawn)  # which refuses what plotly does not know
            measured = [trace for trace in drawn['data'] if 'markers' in trace.get('mode', '')]
            for trace in measured:
                texts = trace['hovertext']
                assert all(text or 'hovertemplate' in trace for text in texts), (made.name, each.title)


def test_points_of_runs_name_the_run_and_its_seed(charts, grid):
    (made, *_) = (made for made in charts if made.name == 'accuracy_over_width')
    (trace, *_) = (t for t in interactive.figure(made.panels[0])['data'] if t['mode'] == 'markers')
    name, words, accuracy = trace['hovertext'][0].split('<br>')
    assert name == grid.runs[0].name
    assert words == 'seed 0; standard, n=8, dim=8'
    assert accuracy == f'chain accuracy {trace["y"][0]:.3f}'


def test_hover_text_shows_what_it_says_and_no_markup_of_it():
    points = (Point(1, 2, '<b>&\nsecond'),)
    drawn = interactive.figure(Panel('', Axis(''), Axis(''), (Series('a', points, '#000000', 'circle'),)))
    assert drawn['data'][0]['hovertext'] == ['&lt;b&gt;&amp;<br>second']


def test_both_renderers_draw_the_same_points(charts):
    (made,) = (made for made in charts if made.name == 'width_over_length')
    figure = static.draw(made)
    (axis,) = figure.axes
    lines = [line for line in axis.lines if line.get_marker() not in ('None', '')]
    by_matplotlib = sorted(tuple(point) for line in lines for point in line.get_xydata())
    traces = [t for t in interactive.figure(made.panels[0])['data'] if t['mode'] == 'markers']
    by_plotly = sorted(point for t in traces for point in zip(t['x'], t['y'], strict=True))
    assert [x for point in by_plotly for x in point] == pytest.approx(
        [x for point in by_matplotlib for x in point], rel=1e-5
    )
    bars = [line.get_ydata() for line in axis.lines if len(set(line.get_xdata())) < len(line.get_xdata())]
    errors = [
        (y - below, y + above)
        for t in traces if 'error_y' in t
        for y, below, above in zip(t['y'], t['error_y']['arrayminus'], t['error_y']['array'], strict=True)
    ]  # fmt: skip
    assert len(bars) == 9
    assert [end for bar in sorted(errors) for end in bar] == pytest.approx(
        [end for bar in sorted(map(tuple, bars)) for end in bar], rel=1e-4
    )
    assert [text.get_text() for text in axis.texts] == ['slope 0', 'slope 1/4', 'slope 1/2']
    plt.close(figure)


def labels_of(axis):
    """Where the tick labels of an x axis stand, of ticks in sight."""
    low, high = axis.get_xlim()
    ticks = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    return [label.get_window_extent() for tick, label in ticks if low <= tick <= high]


@pytest.mark.slow
def test_no_label_of_a_static_figure_is_cut_off_or_lies_on_another(charts):
    for made in charts:
        figure = static.draw(made)
        figure.draw_without_rendering()
        boxes = [legend.get_window_extent() for legend in figure.legends]
        for axis in figure.axes:
            row = labels_of(axis)
            for left, right in itertools.pairwise(row):
                assert left.x1 < right.x0, (made.name, axis.get_title())
            boxes += [*row, axis.title.get_window_extent(), axis.xaxis.label.get_window_extent()]
        for box in boxes:
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, made.name
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, made.name
        plt.close(figure)
