"""A line of a file of results: one run, which is one seed of one cell, as a JSON object.

A line is complete without the others; `pandas.read_json(path, lines=True)` reads a file. Its fields:

    grid, task, metric, target, search    the run's grid; see `experiments.sweeping.cells.grid`
    labels         the value on each axis
    name           the name of the run, with this seed alone
    cell           the name of the cell's directory, which all seeds trained side by side share
    seed           the seed
    state          'done', 'failed', 'unfinished', 'missing' or 'not needed'
    error          why the run failed
    diverged       true if the run failed because training diverged
    config         the fields that differ from their defaults, by dotted name; see `Experiment.difference`
    result         the content of result.json
    curve          step, loss and grad_norm as columns, in five digits: every hundredth step, the first, the
                   last, and every step at which test examples were graded
    evaluations    step and accuracies of every grading, as columns

Fields without a value are left out. Numbers that are not finite are null.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from effxf_jax import tasks
from effxf_jax.runs.directory import parse_object
from effxf_jax.runs.experiment import Experiment, digest
from effxf_jax.runs.record import MAX_SEED
from experiments.sweeping.outcomes import GridRuns, RecordError, Run, check_result

GRID_FIELDS = 'grid', 'task', 'metric', 'target', 'search'

_NUMBER = int, float
_TYPES = {
    'grid': str, 'task': str, 'metric': str, 'target': _NUMBER, 'search': bool, 'labels': dict, 'name': str,
    'cell': str, 'seed': int, 'state': str, 'error': str, 'diverged': bool, 'config': dict, 'result': dict,
    'curve': dict, 'evaluations': dict,
}  # fmt: skip
_TYPE_NAMES = {str: 'a text', dict: 'an object', bool: 'true or false', int: 'a whole number'}
_REQUIRED = (*GRID_FIELDS, 'labels', 'cell', 'seed', 'state')
_OF_EXPERIMENT = {'name', 'config', 'curve', 'evaluations'}
_BY_STATE = {
    'done': ({'name', 'config', 'result'}, _OF_EXPERIMENT | {'result'}),
    'failed': ({'error'}, _OF_EXPERIMENT | {'error', 'diverged'}),
    'unfinished': ({'name', 'config'}, _OF_EXPERIMENT),
    'missing': (set(), set()),
    'not needed': (set(), set()),
}
"""For each state, the further fields that a line must have, and those that it may have."""

_CURVE = 'step', 'loss', 'grad_norm'
_KEPT_EVERY = 100


def encode(grid: GridRuns, run: Run) -> str:
    """Writes a run as a line, without the line break.

    Raises:
        RecordError: the run's log does not have the contents that a run writes.
    """
    log = _thinned(run.log) if run.experiment else []
    graded = [line for line in log if line.keys() - {*_CURVE}]
    measures = dict.fromkeys(name for line in graded for name in line if name not in _CURVE)
    line = {
        'grid': grid.name,
        'task': grid.task,
        'metric': grid.metric,
        'target': grid.target,
        'search': grid.search,
        'labels': dict(zip(grid.axes, run.labels, strict=True)),
        'name': run.experiment and run.experiment.name,
        'cell': run.cell,
        'seed': run.seed,
        'state': run.state,
        'error': run.error,
        'diverged': run.diverged or None,
        'config': run.experiment and run.experiment.difference,
        'result': run.result and {name: _finite(value) for name, value in run.result.items()},
        'curve': _columns(log, _CURVE),
        'evaluations': _columns(graded, ('step', *measures)),
    }
    return json.dumps({name: value for name, value in line.items() if value is not None}, allow_nan=False)


def _thinned(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a log to keep, in five digits: more than a figure can show."""
    ends = {line['step'] for line in (*log[:1], *log[-1:])}
    return [
        {name: value if name == 'step' else float(f'{value:.5g}') for name, value in line.items()}
        for line in log
        if line['step'] % _KEPT_EVERY == 0 or line['step'] in ends or line.keys() - {*_CURVE}
    ]


def _columns(log: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]] | None:
    return {name: [_finite(line.get(name)) for line in log] for name in names} if log else None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(text: bytes, where: str) -> tuple[dict[str, Any], Run]:
    """Reads a line: the fields of the run's grid, with the names of its `axes`, and the run.

    Args:
        text: the line, without the line break.
        where: the file and the number of the line, for messages.

    Raises:
        RecordError: `encode` does not write such a line; the message names what is invalid.
    """
    line = _parse(text, where)
    if problems := _problems(line):
        raise RecordError(f'{where}: {"; ".join(problems)[:500]}')
    if 'result' in line:
        check_result(line['result'], f'{where}: result')
    grid = {field: line[field] for field in GRID_FIELDS} | {'axes': list(line['labels'])}
    return grid, Run(
        labels=tuple(line['labels'].values()),
        cell=line['cell'],
        seed=line['seed'],
        path=None,
        state=line['state'],
        error=line.get('error'),
        diverged=line.get('diverged', False),
        experiment=_experiment(line, where) if 'config' in line else None,
        result=line.get('result'),
        kept_log=_log(line, where),
    )


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        line = parse_object(decoded := text.decode())
        if '\\u' in decoded:  # possibly half of a surrogate pair, which UTF-8 cannot encode
            json.dumps(line, ensure_ascii=False).encode()
    except RecursionError:
        raise RecordError(f'{where} is nested too deeply') from None
    except UnicodeError as error:
        raise RecordError(f'{where} is not text: {error}') from error
    except ValueError as error:
        raise RecordError(f'{where} {error}') from error
    return line


def _problems(line: Mapping[str, Any]) -> list[str]:
    """The fields that are missing, unknown, of a wrong type, or not allowed in the run's state."""
    problems = [f'{name} is missing' for name in _REQUIRED if name not in line]
    problems += [f'unknown field {name!r}' for name in line if name not in _TYPES]
    for name, kind in _TYPES.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if name in line and type(line[name]) not in kinds:
            problems.append(f'{name} must be {_TYPE_NAMES.get(kind, "a number")}; got {line[name]!r}')
    if problems:
        return problems
    state = line['state']
    if state not in _BY_STATE:
        return [f'state must be one of {", ".join(_BY_STATE)}; got {state!r}']
    needed, allowed = _BY_STATE[state]
    others = [name for name in _TYPES if name not in _REQUIRED]
    problems += [
        f'{name} is missing where state is {state}' for name in others if name in needed - line.keys()
    ]
    problems += [
        f'{name} is given where state is {state}' for name in others if name in line.keys() - allowed
    ]
    if ('name' in line) != ('config' in line):
        problems.append('name and config must be given together')
    if not 0 <= line['seed'] <= MAX_SEED:
        problems.append(f'seed must be from 0 to 2^31 - 1; got {line["seed"]}')
    texts = line['labels'].values()
    return problems + [f'labels must be texts; got {text!r}' for text in texts if type(text) is not str]


def _experiment(line: Mapping[str, Any], where: str) -> Experiment:
    name, difference = line['name'], line['config']
    # Checked first: an edited config may have sizes that take hours to build.
    if not name.endswith(f'-{digest(difference)}'):
        raise RecordError(
            f'{where}: {name} is not the name of a run with this config: the name, the config or the version '
            'of the defaults was changed'
        )
    try:
        experiment = Experiment.from_difference(difference)
        found = experiment.name, experiment.seed, tasks.name_of(experiment.task)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordError(f'{where}: config is not the configuration of a run: {error}') from error
    if found != (name, line['seed'], line['task']):
        raise RecordError(
            f'{where}: the config is that of {found[0]}, seed {found[1]}, task {found[2]}; the line says '
            f'{name}, seed {line["seed"]}, task {line["task"]}'
        )
    return experiment


def _log(line: Mapping[str, Any], where: str) -> tuple[dict[str, Any], ...]:
    """The lines of the log, made from their columns."""
    curve = _rows(line.get('curve', {}), f'{where}: curve')
    evaluations = _rows(line.get('evaluations', {}), f'{where}: evaluations')
    if lacking := evaluations.keys() - curve.keys():
        raise RecordError(f'{where}: curve lacks step {min(lacking)}, which is in evaluations')
    return tuple(row | evaluations.get(step, {}) for step, row in curve.items())


def _rows(columns: Mapping[str, Any], where: str) -> dict[int, dict[str, Any]]:
    """The rows of columns, by step."""
    if not columns:
        return {}
    if not all(type(column) is list for column in columns.values()) or 'step' not in columns:
        raise RecordError(f'{where} must hold lists of numbers, with one called step')
    steps = columns['step']
    if not all(type(step) is int and 0 < step < 2**63 for step in steps) or steps != sorted(set(steps)):
        raise RecordError(f'{where}: step must hold increasing whole numbers')
    for name, column in columns.items():
        if len(column) != len(steps):
            raise RecordError(f'{where}: {name} must be as long as step, {len(steps)}; got {len(column)}')
        if not all(value is None or (type(value) in _NUMBER and abs(value) < 1e300) for value in column):
            raise RecordError(f'{where}: {name} must hold numbers')
    rows = zip(*columns.values(), strict=True)
    read = ([math.nan if value is None else value for value in row] for row in rows)
    return {step: dict(zip(columns, row, strict=True)) for step, row in zip(steps, read, strict=True)}
