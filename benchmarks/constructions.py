"""Grades every construction at several sizes, the largest with sequences of some thousand tokens.

    python -m benchmarks.constructions [--count=1024] [--only=lis] [--directory=DIR] [--out=DIR]

Each is a run of `experiments.construct`, which a later call does not repeat; this takes some hours of two
cores.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import measure
from effxf_jax import tasks
from effxf_jax.constructions import catalogue

_COUNT = flags.DEFINE_integer('count', 1024, 'Held-out problems.')
_ONLY = flags.DEFINE_list('only', list(catalogue.CONSTRUCTIONS), 'Tasks.')
_DIRECTORY = flags.DEFINE_string('directory', 'runs/constructions', 'Where the runs are kept.')

# Models wider than this are graded in parts, one seed each: a part takes a quarter of an hour of a core.
_WIDE, _PARTS = 900, 8
# A state of linear attention has the square of the width, so a batch of wide ones is small.
_WIDTHS_AT_ONCE, _AT_LEAST, _AT_MOST = 20_000, 16, 256
_SIZES = {
    'edit_distance': [{'n': n} for n in (6, 12, 16, 20, 31, 36)],
    'edit_distance_local': [{'rows': rows, 'pattern_length': 4} for rows in (6, 20, 50, 100)],
    'lis': [{'n': n, 'number_range': None} for n in (40, 110, 174, 249, 499)],  # the default range
}


def grade(task: str, name: str, size: dict, width: int, count: int) -> dict:
    """Grades a construction of a width; the row of the table.

    Raises:
        RuntimeError: the program failed.
    """
    options = ','.join(f'{key}={value}'.lower() for key, value in size.items())
    parts = _PARTS if width > _WIDE else 1
    found = []
    for part in range(parts):
        workdir = Path(_DIRECTORY.value) / f'{task}-{name}-{options}{f"-part{part}" if parts > 1 else ""}'
        result = workdir / 'result.json'
        if not result.exists():
            _run(task, name, f'{options},seed={part}', width, count // parts, workdir)
        found.append(json.loads(result.read_text(encoding='utf-8')))
    model = json.loads((workdir / 'config.json').read_text(encoding='utf-8'))['model']
    return {
        'task': task,
        'construction': name,
        'size': options,
        'length': tasks.make(task, **size, **catalogue.CONSTRUCTIONS[task][name].task_options).max_length,
        'layers': model['num_layers'],
        'heads': model['num_heads'],
        'width': model['dim'],
        'problems': sum(one['num_eval_examples'] for one in found),
        'chains right': float(np.mean([one['chain_accuracy'] for one in found])),
        'margin': min(one['construction']['score_margin'] for one in found),
        'largest weight': found[0]['construction']['largest_weight'],
    }


def _run(task: str, name: str, options: str, width: int, count: int, workdir: Path) -> None:
    shutil.rmtree(workdir, ignore_errors=True)  # of a run that was stopped
    at_once = min(max(_WIDTHS_AT_ONCE // width, _AT_LEAST), _AT_MOST, count)
    batch = f'num_eval_examples={count},num_progress_examples=16,eval_batch_size={at_once}'
    command = [sys.executable, '-m', 'experiments.construct', f'--construction={name}']
    command += [f'--config=experiments/{task}.py:{options},{batch}', f'--workdir={workdir}']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{task} {name} {options}: {done.stderr[-2000:]}')


def main(argv):
    del argv
    rows = []
    for task in _ONLY.value:
        for size in _SIZES[task]:
            for name, construction in catalogue.CONSTRUCTIONS[task].items():
                of = tasks.make(task, **size, **construction.task_options)
                if catalogue.size_of(of) > construction.largest:
                    continue
                rows.append(grade(task, name, size, catalogue.least_width(of, name), _COUNT.value))
                print(json.dumps(rows[-1]), flush=True)
    rows.sort(key=lambda row: (row['task'], row['construction'], row['length']))
    measure.report('constructions', rows)
    for task, name in dict.fromkeys((row['task'], row['construction']) for row in rows):
        these = [row for row in rows if (row['task'], row['construction']) == (task, name)]
        points = np.log([(row['length'], row['width']) for row in these])
        if len(these) > 1:
            print(f'{task} {name}: width ~ L^{np.polyfit(*points.T, 1)[0]:.2f}')


if __name__ == '__main__':
    app.run(main)
