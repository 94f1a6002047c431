"""Timing of several programs in turn, and reports of the results."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from effxf_jax.runs.machine import processor

_RUNS = flags.DEFINE_integer('runs', 9, 'Repetitions of each program; the median counts.')
_OUT = flags.DEFINE_string('out', None, 'A directory to write the results to, as JSON, and plots.')

# Seconds between calls: idle threads, above all PyTorch's, spin for a while on cores that the next call uses.
_REST = 0.3


def in_turn(
    calls: Mapping[str, Callable[[], Any]], runs: int | None = None, warmups: int = 2
) -> dict[str, float]:
    """The median time of each call, in seconds, by its name.

    The calls run in turn, so that other load on the machine affects all of them alike.

    Args:
        calls: functions by name; each must wait for the work that it starts.
        runs: timed runs of each call; by default the flag --runs.
        warmups: runs of each call before the timed ones, to compile it and to warm up.
    """
    for call in calls.values():
        for _ in range(warmups):
            call()
    times = {name: [] for name in calls}
    for _ in range(runs or _RUNS.value):
        for name, call in calls.items():
            time.sleep(_REST)
            begun = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> dict[str, Any]:
    """The machine and versions, on which timings depend besides the code."""
    return {
        'cpu': processor(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        'devices': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
        'allocator': 'jemalloc' if 'jemalloc' in os.environ.get('LD_PRELOAD', '') else 'the C library',
        'jax': jax.__version__,
        'python': platform.python_version(),
    }


def report(name: str, rows: Sequence[Mapping[str, Any]], plot: Callable[[Path], None] | None = None) -> None:
    """Prints rows as a table; with --out also writes NAME.json and, given `plot`, NAME.png."""
    print(f'{name}: {machine()}')
    columns = list(rows[0])
    shown = [[_show(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    for line in [columns, *shown]:
        print('  '.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    save(name, rows)
    if _OUT.value and plot:
        plot(Path(_OUT.value) / f'{name}.png')


def save(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Given --out, writes NAME.json there, which is either the former file or complete."""
    if not _OUT.value:
        return
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    begun = out / f'.{name}.json'
    text = json.dumps({'machine': machine(), 'rows': list(rows)}, indent=2)
    begun.write_text(text + '\n', encoding='utf-8')
    begun.replace(out / f'{name}.json')


def saved(name: str) -> list[dict[str, Any]]:
    """The rows that `save` has written to --out on a machine like this one; none if there is no such file."""
    path = Path(_OUT.value or '') / f'{name}.json'
    if not _OUT.value or not path.is_file():
        return []
    content = json.loads(path.read_text(encoding='utf-8'))
    return content['rows'] if content['machine'] == machine() else []


def _show(value: Any) -> str:
    return f'{value:,.4g}' if isinstance(value, float) else str(value)
