"""Draws charts with plotly: what a browser needs of them, and plotly's own script."""

import html
import math
from typing import Any

from plotly.offline import get_plotlyjs

from experiments.reporting.chart import Axis, Chart, HeatMap, Key, Panel, Reference, Series

_GREY = '#6b7280'
_DASHES = {'solid': 'solid', 'dashed': '6px,3px', 'dotted': '2px,3px'}
_HEAT_ROW, _PANEL_HEIGHT, _SINGLE_HEIGHT = 34, 300, 440


def script() -> str:
    """The source of plotly.js, to be embedded once in a page, where `</script` ends nothing."""
    return get_plotlyjs().replace('</script', '<\\/script')


def height(chart: Chart, panel: Panel) -> int:
    """The height of a panel, in pixels."""
    if panel.heat_map:
        return 70 + _HEAT_ROW * len(panel.heat_map.rows)
    return {1: _SINGLE_HEIGHT, 2: 380}.get(chart.columns, _PANEL_HEIGHT)


def figure(panel: Panel) -> dict[str, Any]:
    """A panel as a figure of plotly: its `data` and `layout`."""
    if panel.heat_map:
        data = [_heat_map(panel.heat_map)]
        labels = {'type': 'category', 'showgrid': False, 'fixedrange': True, 'ticks': '', 'automargin': True}
        x = {**labels, 'title': {'text': panel.x.label}}
        y = {**labels, 'autorange': 'reversed'}
        return {'data': data, 'layout': {'xaxis': x, 'yaxis': y}}
    data = [_trace(series) for series in panel.series if series.points]
    data += [_reference(reference) for reference in panel.references]
    layout = {'xaxis': _axis(panel.x), 'yaxis': _axis(panel.y)}
    layout['annotations'] = [_text(reference, panel) for reference in panel.references if reference.text]
    return {'data': data, 'layout': layout}


def _axis(axis: Axis) -> dict[str, Any]:
    place = math.log10 if axis.is_log else float
    made = {'title': {'text': axis.label}, 'type': 'log' if axis.is_log else 'linear'}
    if axis.limits:
        made['range'] = [_rounded(place(end)) for end in axis.limits]
    if axis.ticks is not None:
        made['tickvals'] = list(axis.ticks)
        made['ticktext'] = list(axis.labels or (f'{tick:g}' for tick in axis.ticks))
    return made


def _trace(series: Series) -> dict[str, Any]:
    """A series as a trace; its `meta` names the key with which it is shown and hidden."""
    points = series.points
    has_hover = bool(series.hover or any(point.hover for point in points))
    trace = {
        'type': 'scatter',
        'mode': '+'.join(
            name for name, wanted in (('lines', series.line), ('markers', series.marker)) if wanted
        ),
        'x': [_rounded(point.x) for point in points],
        'y': [_rounded(point.y) for point in points],
        'meta': series.name,
        'hoverinfo': 'text' if has_hover else 'skip',
    }
    if has_hover:
        trace['hovertext'] = [_escaped(point.hover) for point in points]
        if series.hover:
            trace['hovertemplate'] = _escaped(series.hover) + '<br>%{hovertext}<extra></extra>'
    if series.line:
        trace['line'] = {'color': series.colour, 'width': 1.8, 'dash': _DASHES[series.line]}
    if series.marker:
        colour = '#ffffff' if series.is_open else series.colour
        outline = {'color': series.colour, 'width': 1.6 if series.is_open else 0}
        trace['marker'] = {
            'symbol': series.marker,
            'color': colour,
            'line': outline,
            'size': 6 if series.is_faint else 9,
        }
        if series.is_faint:
            trace['marker']['opacity'] = 0.5
    if any(math.isfinite(point.low) for point in points):
        trace['error_y'] = {
            'type': 'data', 'symmetric': False, 'color': series.colour, 'thickness': 1.6, 'width': 0,
            'array': [_rounded(max(point.high - point.y, 0)) for point in points],
            'arrayminus': [_rounded(max(point.y - point.low, 0)) for point in points],
        }  # fmt: skip
    return trace


def _reference(reference: Reference) -> dict[str, Any]:
    x, y = zip(*reference.points, strict=True)
    line = {'color': _GREY, 'width': 1, 'dash': _DASHES['dotted']}
    return {
        'type': 'scatter', 'mode': 'lines', 'x': list(map(_rounded, x)), 'y': list(map(_rounded, y)),
        'line': line, 'hoverinfo': 'skip',
    }  # fmt: skip


def _text(reference: Reference, panel: Panel) -> dict[str, Any]:
    """The text at the right end of a reference."""
    place = lambda axis, value: _rounded(math.log10(value) if axis.is_log else value)
    x, y = reference.points[1]
    return {
        'x': place(panel.x, x), 'y': place(panel.y, y), 'text': _escaped(reference.text), 'showarrow': False,
        'xanchor': 'right', 'yanchor': 'bottom', 'font': {'color': _GREY, 'size': 11},
    }  # fmt: skip


def _heat_map(heat_map: HeatMap) -> dict[str, Any]:
    values = [[_rounded(value) for value in row] for row in heat_map.values]
    return {
        'type': 'heatmap', 'z': values, 'zmin': 0, 'zmax': 1, 'colorscale': 'Viridis', 'showscale': False,
        'x': list(heat_map.columns), 'y': [_escaped(row) for row in heat_map.rows],
        'text': [['-' if value is None else f'{100 * value:.0f}' for value in row] for row in values],
        'texttemplate': '%{text}', 'hovertext': [[_escaped(text) for text in row] for row in heat_map.hover],
        'hoverinfo': 'text', 'hoverongaps': False, 'xgap': 1, 'ygap': 1,
    }  # fmt: skip


def _rounded(value: float) -> float | None:
    """A number in six digits; nothing where it is not finite, as JSON requires."""
    return float(f'{value:.6g}') if math.isfinite(value) else None


def _escaped(text: str) -> str:
    """Plain text in plotly's subset of HTML."""
    return html.escape(text, quote=False).replace('\n', '<br>')


_SIDES = {
    'triangle-up': 3,
    'triangle-down': 3,
    'square': 4,
    'diamond': 4,
    'pentagon': 5,
    'hexagon': 6,
    'octagon': 8,
}


def swatch(key: Key) -> str:
    """A key's line and marker as a small SVG image."""
    parts = []
    if key.line:
        dash = '' if key.line == 'solid' else f' stroke-dasharray="{_DASHES[key.line].replace("px", "")}"'
        parts.append(f'<path d="M0 8H28" stroke="{key.colour}" stroke-width="2"{dash}/>')
    if key.marker:
        fill = '#fff' if key.is_open else key.colour
        parts.append(
            f'<path d="{_outline(key.marker)}" fill="{fill}" stroke="{key.colour}" stroke-width="1.4"/>'
        )
    return f'<svg width="28" height="16" aria-hidden="true">{"".join(parts)}</svg>'


def _outline(marker: str) -> str:
    """The path of a marker around (14, 8)."""
    if marker == 'circle':
        return 'M9 8a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z'
    if marker == 'cross':
        return 'M12 3h4v3h3v4h-3v3h-4v-3h-3v-4h3Z'
    if marker == 'x':
        return 'M10 4l8 8M18 4l-8 8'
    corners = 10 if marker == 'star' else _SIDES[marker]
    start = {'square': math.pi / 4, 'triangle-down': math.pi}.get(marker, 0.0)
    points = []
    for corner in range(corners):
        radius = 2.6 if marker == 'star' and corner % 2 else 6
        angle = start + 2 * math.pi * corner / corners
        points.append(f'{14 + radius * math.sin(angle):.1f} {8 - radius * math.cos(angle):.1f}')
    return f'M{"L".join(points)}Z'
