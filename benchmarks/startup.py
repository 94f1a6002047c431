"""The time from the command to the first step in metrics.jsonl.

    python -m benchmarks.startup [--config=experiments/arith.py] [--out=DIR]

A run reports a step once its next updates have started. The first start compiles; the others find its
compiled programs in a cache. Each run is killed after its first step.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from benchmarks import measure

_CONFIG = flags.DEFINE_string('config', 'experiments/arith.py', 'The configuration to start.')
_STARTS = 4
_PATIENCE = 300.0


def seconds_to_first_step(workdir: Path, cache: Path) -> float:
    """Starts a run and kills it after its first step.

    Raises:
        RuntimeError: the run ended before its first step, or took longer than _PATIENCE seconds.
    """
    command = [sys.executable, '-m', 'experiments.main', f'--config={_CONFIG.value}', f'--workdir={workdir}']
    metrics = workdir / 'metrics.jsonl'
    begun = time.perf_counter()
    with tempfile.TemporaryFile('w+') as said:
        process = subprocess.Popen(
            command, env={**os.environ, 'XDG_CACHE_HOME': str(cache)}, stdout=said, stderr=said
        )
        return _wait(process, metrics, begun, said)


def _wait(process: subprocess.Popen, metrics: Path, begun: float, said) -> float:
    try:
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                said.seek(0)
                raise RuntimeError(f'the run ended before its first step:\n{said.read()[-2000:]}')
            if time.perf_counter() - begun > _PATIENCE:
                raise RuntimeError(f'no first step within {_PATIENCE:.0f} s')
            time.sleep(0.02)
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()


def main(argv):
    del argv
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary)
        rows = [
            {'start': start + 1, 'seconds': seconds_to_first_step(path / str(start), path / 'cache')}
            for start in range(_STARTS)
        ]
    measure.report('startup', rows)


if __name__ == '__main__':
    app.run(main)
