"""The words of figures and tables: names of mechanisms, sizes, metrics and runs."""

import math
from collections.abc import Iterable, Mapping, Sequence

from effxf_jax import tasks
from effxf_jax.attention import span_options
from experiments.reporting.records import GridRecord, Run
from experiments.sweeping.cells import short

METRIC_NAMES = {
    'answer_accuracy': 'answer accuracy',
    'chain_accuracy': 'chain accuracy',
    'teacher_forced_accuracy': 'teacher-forced accuracy',
}

COVERAGE = 'With three seeds such an interval covers about 70%, not 95%.'
"""What a bootstrap over few seeds is worth; it stands wherever intervals are explained."""

_READABLE = {
    'pattern=': '',
    'block_size=': 'block ',
    'window=': '',
    'summary_size=': 'summary ',
    'heads=separate': 'separate heads',
    'conv_size=': 'convolution ',
    'answer_mode=direct': 'direct answer',
    'warmup_steps=0': '',  # stands beside steps=0
}


def mechanism(label: str) -> str:
    """A mechanism's name: `sparse strided block 8` of `mechanism=sparse,pattern=strided,block_size=8`."""
    return readable(short(label))


def readable(text: str, with_span: bool = True) -> str:
    """A mechanism's name from its short label, such as `sparse pattern=strided block_size=8`.

    Args:
        text: the short label.
        with_span: whether the size of its blocks or its window is part of the name.
    """
    name, *options = text.split(' ')
    words = [name.replace('_', ' ')]
    if name == 'sparse' and 'block_size=' in text and 'pattern=' not in text:
        words.append('fixed')  # the default pattern, named where block sizes or patterns are compared
    for option in options:
        if not with_span and option.partition('=')[0] in span_options():
            continue
        prefix = next((prefix for prefix in _READABLE if option.startswith(prefix)), '')
        words.append(_READABLE.get(prefix, '') + option.removeprefix(prefix))
    return ' '.join(filter(None, words))


def kind(label: str) -> str:
    """A mechanism's name without the size of its blocks or window, such as `sparse fixed`."""
    return readable(short(label), with_span=False)


def title(grid: GridRecord) -> str:
    """The name of a grid and, where the name is not the task's, of the task."""
    task = tasks.TASKS[grid.task].title or grid.task.replace('_', ' ')
    name = grid.name.replace('_', ' ')
    text = task if grid.name == grid.task else f'{name} ({task})'
    return capitalised(text)


def size_title(grid: GridRecord, size: str, separator: str = ', ') -> str:
    """A size and its lengths: `n=8, L=20`."""
    return f'{short(size)}{separator}{lengths_text(grid.lengths(size))}'


def panel_title(grid: GridRecord, size: str) -> str:
    """A size and its lengths, on two lines where one would be long."""
    return size_title(grid, size, '\n' if ' ' in short(size) else ', ')


def lengths_text(lengths: Iterable[int]) -> str:
    return f'L={", ".join(map(str, sorted(lengths))) or "?"}'


def value(label: str) -> str:
    """The value of a label's first field: `8` of `dim=8`."""
    return label.partition(',')[0].partition('=')[2]


def amount(label: str) -> str:
    """The value of a label's first field, a whole number with separators: `32,000` of `steps=32000`."""
    found = value(label)
    return f'{int(found):,}' if found.isdigit() else found


def field(label: str) -> str:
    """The name of a label's first field in words: `learning rate` of `learning_rate=0.008`."""
    return label.partition('=')[0].replace('_', ' ')


def reaching(grid: GridRecord) -> str:
    """The target: `90% chain accuracy`."""
    return f'{grid.target:.0%} {METRIC_NAMES[grid.metric]}'


def hover(grid: GridRecord, run: Run, *more: str) -> str:
    """What a reader sees on pointing at a run: its name, seed and labels, its accuracy, and more lines."""
    point = ', '.join([mechanism(run.labels[0]), *map(short, run.labels[1:])])
    accuracy = grid.accuracy(run)
    reached = 'diverged' if run.diverged else f'{METRIC_NAMES[grid.metric]} {accuracy:.3f}'
    lines = [run.name, f'seed {run.seed}; {point}']
    return '\n'.join([*lines, *([] if math.isnan(accuracy) else [reached]), *more])


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f'{", ".join(words[:-1])} and {words[-1]}'


def grouped(reasons: Mapping[str, str]) -> str:
    """Mechanisms with the same text in one clause: `linear and sparse: above 32; standard: 26.4`."""
    by_reason = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(mechanism(name))
    return '; '.join(f'{listed(names)}: {reason}' for reason, names in by_reason.items())


def of_all(count: int, total: int) -> str:
    """`4 of 6`, `all 6` or `both`."""
    if count < total or total == 1:
        return f'{count} of {total}'
    return 'both' if total == 2 else f'all {total}'


def capitalised(text: str) -> str:
    """A text with a capital at its start, the rest as it is."""
    return text[:1].upper() + text[1:]
