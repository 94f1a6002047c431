"""The figure of the main question, as a chart: the width that a problem needs, and what it costs."""

from collections.abc import Mapping

from experiments.reporting import analysis, labels
from experiments.reporting.analysis import Cost, Widths
from experiments.reporting.chart import Chart, Key, Panel, Point, Series, chart, log_axis
from experiments.reporting.looks import GREY, Look, looks_of
from experiments.reporting.records import GridRecord
from experiments.reporting.width_figures import BELOW, BEYOND, over_length, shifts_of
from experiments.sweeping.cells import short


def width_and_cost(grid: GridRecord, widths: Widths) -> Chart | None:
    """Needed width beside the bottleneck's lower bound, and the least cost that reaches the target."""
    costs = analysis.least_costs(grid)
    looks = looks_of(grid.axes['mechanism'])
    marked, x, _, keys = over_length(grid, widths, looks)
    joined = []
    for mechanism, look in looks.items():
        exact = tuple(Point(at.x, at.y) for at in marked if at.mechanism == mechanism and at.is_exact)
        if len(exact) > 1:
            joined.append(Series(mechanism, exact, look.colour, line='solid'))
    bounds = [_bound_line(grid, widths, mechanism, look) for mechanism, look in looks.items()]
    values = [p.y for line in (*bounds, *(at.series for at in marked)) for p in line.points]
    y = log_axis('needed width D', values)
    needed = Panel(
        f'Width that reaches {labels.reaching(grid)}', x, y, (*bounds, *joined, *(at.series for at in marked))
    )
    shifts = shifts_of(looks, [grid.length(*at) for at in widths.needed])
    series = [line for m, look in looks.items() for line in _cost_lines(grid, costs, m, look, shifts[m])]
    spent = [p.y for line in series for p in line.points] or [1.0]
    cost = Panel(
        'Cost of the cheapest model that reaches it',
        x,
        log_axis('MFLOPs of a forward pass', spent, 0.1),
        tuple(series),
    )
    caption = (
        f'Width: the least that reaches {labels.reaching(grid)}. Bars: 95% of the bootstrap over seeds. '
        f'{labels.COVERAGE} Dashed, in the same colour: the least width that the information bottleneck '
        'allows. Cost: the fewest FLOPs of a forward pass over the longest sequence with which a model '
        'reaches the target.'
    )
    signs = (
        Key('', GREY, line='solid', text='measured'),
        Key('', GREY, line='dashed', text='lower bound (information bottleneck)'),
        BEYOND,
        BELOW,
    )
    title = f'{labels.title(grid)}: width and cost of reasoning'
    return chart('width_and_cost', title, caption, [needed, cost], keys=keys, signs=signs, columns=2)


def _bound_line(grid: GridRecord, widths: Widths, mechanism: str, look: Look) -> Series:
    """The bottleneck's least width over length."""
    name = labels.mechanism(mechanism)
    points = [
        Point(grid.length(m, size), bound, f'{name}, {short(size)}\nlower bound on the width: {bound:.2g}')
        for (m, size), bound in widths.bounds.items()
        if m == mechanism and bound > 0
    ]
    return Series(mechanism, tuple(points), look.colour, line='dashed')


def _cost_lines(
    grid: GridRecord,
    costs: Mapping[tuple[str, str], Cost],
    mechanism: str,
    look: Look,
    shift: float,
) -> list[Series]:
    """The least costs that reach the target over length; open where the costliest model tried does not."""
    reached, beyond = [], []
    for size in (size for m, size in costs if m == mechanism):
        cost, length = costs[mechanism, size], grid.length(mechanism, size)
        title = f'{labels.mechanism(mechanism)}, {short(size)}, L={length}'
        tried = [run.result['forward_flops'] / 1e6 for run in grid.select(mechanism, size) if run.result]
        if cost.width:
            hover = (
                f'{title}\n{cost.mflops:,.3f} MFLOPs at D={cost.width}\nstate: {cost.state_size:,.0f} numbers'
            )
            reached.append(Point(length * shift, cost.mflops, hover))
        elif tried:
            hover = f'{title}\nno model tried reaches it, up to {max(tried):,.3f} MFLOPs'
            beyond.append(Point(length * shift, max(tried), hover))
    return [
        Series(mechanism, tuple(reached), look.colour, look.marker, 'solid'),
        Series(mechanism, tuple(beyond), look.colour, 'triangle-up', is_open=True),
    ]
