"""What all figures share: looks, panels, ticks and words."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments.reporting.records import GridRecord
from experiments.sweeping.cells import short

METRIC_NAMES = {
    'answer_accuracy': 'answer accuracy',
    'chain_accuracy': 'chain accuracy',
    'teacher_forced_accuracy': 'teacher-forced accuracy',
}

_COLOURS = (
    '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999933', '#882255',
)  # fmt: skip
_MARKERS = 'osDPX*hp'  # one fewer than colours, so that pairs do not come again soon


def style() -> None:
    """What all figures share; no window is opened."""
    matplotlib.use('agg')
    plt.rcParams.update({
        'axes.spines.right': False, 'axes.spines.top': False, 'axes.titlesize': 'medium',
        'figure.constrained_layout.use': True,
        'figure.dpi': 110, 'font.size': 9, 'legend.frameon': False, 'savefig.dpi': 200,
        'svg.hashsalt': 'effxf_jax',
    })  # fmt: skip


def looks_of(names: Sequence[str]) -> Mapping[str, dict[str, str]]:
    """A colour and a marker for each."""
    return {
        name: {'color': _COLOURS[i % len(_COLOURS)], 'marker': _MARKERS[i % len(_MARKERS)]}
        for i, name in enumerate(names)
    }


def row_of(count: int):
    """Panels side by side, with room for a legend beside them."""
    figure, axes = plt.subplots(1, count, figsize=(2.2 + 2.6 * count, 3.6), sharey=True, squeeze=False)
    return figure, axes[0]


def shared_legend(figure: Figure, axes, title: str | None = None) -> None:
    """Of all panels, beside them."""
    by_label = {
        label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        by_label.values(), by_label.keys(), loc='outside right upper', title=title, title_fontsize=8
    )


def ticks(axis, places: Sequence[float] | None = None) -> None:
    """Of a logarithmic axis: at these places or else at 1, 2, 5, 10 and so on, as plain numbers."""
    if places is None:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_ticks(places)
    axis.set_major_formatter('{x:g}')
    axis.set_minor_locator(NullLocator())


def apart(lengths: Iterable[int]) -> list[int]:
    """Those whose labels do not meet on a logarithmic axis."""
    kept = []
    for length in sorted(lengths):
        if not kept or length > 1.1 * kept[-1]:
            kept.append(length)
    return kept


def title(grid: GridRecord) -> str:
    return grid.name.replace('_', ' ')


def size_title(grid: GridRecord, size: str, separator: str = ', ') -> str:
    return f'{short(size)}{separator}{lengths_text(grid.lengths(size))}'


def lengths_text(lengths: Iterable[int]) -> str:
    return f'L={", ".join(map(str, sorted(lengths))) or "?"}'


def value(label: str) -> str:
    """That of a label's first field: `8` of `dim=8`."""
    return label.partition(',')[0].partition('=')[2]
