"""How many training examples a run reads until its gradings reach an accuracy."""

from typing import Any

from experiments.reporting import labels
from experiments.reporting.figures import graded
from experiments.reporting.records import GridRecord, Run
from experiments.sweeping.cells import short

LEVELS = (0.9, 0.95)

# Fewer gradings say too little about when training reached an accuracy.
_LEAST_GRADINGS = 5


def table(grid: GridRecord) -> list[dict[str, Any]]:
    """A row for each point of a grid whose runs were graded often; examples and tokens by level."""
    rows = []
    for point in dict.fromkeys(run.labels for run in grid.done):
        runs = [run for run in grid.select(*point) if run.result]
        if min(len(graded(grid, run)) for run in runs) < _LEAST_GRADINGS:
            continue
        row = {'cell': ' '.join([labels.mechanism(point[0]), *map(short, point[1:])]), 'seeds': len(runs)}
        for level in LEVELS:
            found = [_read_until(grid, run, level) for run in runs]
            row[f'examples until {level:.0%}'] = _spread([examples for examples, _ in found])
            row[f'tokens until {level:.0%}'] = _spread([tokens for _, tokens in found])
        row['examples in all'] = f'{_examples(runs[0], runs[0].result["train_steps"]):,}'
        rows.append(row)
    return rows


def _read_until(grid: GridRecord, run: Run, level: float) -> tuple[int | None, int | None]:
    """Examples and produced and given tokens that a run has read at its first grading at or above a level."""
    step = next((step for step, accuracy in graded(grid, run) if accuracy >= level), None)
    if step is None:
        return None, None
    tokens = run.result['train_tokens'] * step // run.result['train_steps']
    return _examples(run, step), tokens


def _examples(run: Run, step: int) -> int:
    return step * run.experiment.train.batch_size


def _spread(found: list[int | None]) -> str:
    """`96,000 to 128,000`; where some seeds never get there, `96,000 (2 of 3)`."""
    known = sorted(number for number in found if number is not None)
    if not known:
        return 'not reached'
    text = f'{known[0]:,}' if known[0] == known[-1] else f'{known[0]:,} to {known[-1]:,}'
    return text if len(known) == len(found) else f'{text} ({len(known)} of {len(found)})'
