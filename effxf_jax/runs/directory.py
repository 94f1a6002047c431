"""The files of a run, each written so that a process killed at any moment leaves them sound.

config.json      the whole configuration
metrics.jsonl    one object a step; TensorBoard's events lie beside it
checkpoints/     see checkpoints.py
samples.txt      a few graded generations
result.json      written last: its presence means done
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from effxf_jax.data import host_tensorflow
from effxf_jax.evaluation import Evaluation
from effxf_jax.runs.experiment import Experiment, ExperimentError, flat
from effxf_jax.training import Metrics


class MismatchError(ValueError):
    """A directory belongs to a run of another configuration."""


class InUseError(RuntimeError):
    """Another process is running in a directory."""


class RunDirectory:
    """A run's directory.

    Of several hosts that of the first is active. The others neither read nor write theirs: it is as if it
    were not there, and it need not be.
    """

    def __init__(self, path: str | os.PathLike, active: bool = True):
        self.path = Path(path)
        self.active = active

    def check(self, config: Mapping[str, Any]) -> None:
        """Makes sure that the directory, if it is a run's, is of this configuration.

        Raises:
            MismatchError: it has another one; the message names where they differ.
        """
        found = self.read_object('config.json')
        if found is not None:
            check_same(found, config, str(self.path))

    def claim(self, config: Mapping[str, Any]) -> None:
        """Makes the directory, if need be, and writes the configuration into it.

        Raises:
            MismatchError: the directory has another configuration.
            OSError: it cannot be written.
        """
        self.check(config)
        if self.active and not (self.path / 'config.json').exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_text('config.json', json.dumps(config, indent=2) + '\n')

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out while entered; the system frees it when the process ends, however.

        Raises:
            InUseError: another process is in.
        """
        if not self.active:
            yield
            return
        with (self.path / '.lock').open('w') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InUseError(f'another process is running in {self.path}') from error
            yield

    def read_result(self) -> dict[str, Any] | None:
        """What result.json holds; None while the run is not done.

        Raises:
            MismatchError: it is no object.
        """
        return self.read_object('result.json')

    def read_object(self, name: str) -> dict[str, Any] | None:
        """What a JSON file holds; None where there is none.

        Raises:
            MismatchError: it is no object.
        """
        text = self.read_text(name)
        if text is None:
            return None
        try:
            return parse_object(text)
        except ValueError as error:
            raise MismatchError(f'{self.path / name} is damaged: it {error}') from error

    def read_text(self, name: str) -> str | None:
        """What a file holds; None where there is none."""
        path = self.path / name
        return path.read_text() if self.active and path.exists() else None

    def write_text(self, name: str, text: str) -> None:
        """Writes a file whole or not at all."""
        if not self.active:
            return
        temporary = self.path / f'.{name}.tmp'
        with temporary.open('w') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)


def parse_object(text: str) -> dict[str, Any]:
    """What JSON says, where it is an object.

    Raises:
        ValueError: it is not; the message begins with a verb, for the file's name to stand before it.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise ValueError(f'is not JSON: {error}') from error
    if not isinstance(parsed, dict):
        raise ValueError(f'must hold an object; got {text[:40]!r}')
    return parsed


class MetricsLog:
    """metrics.jsonl and TensorBoard's events, the same numbers in both; a context manager."""

    def __init__(self, directory: RunDirectory, start: int):
        """Opens the log to go on after step `start`; lines of later steps are dropped."""
        self._path = directory.path / 'metrics.jsonl'
        self._active = directory.active
        if self._active:
            kept = [line for step, line in _whole_lines(self._path) if step <= start]
            directory.write_text('metrics.jsonl', ''.join(kept))

    def __enter__(self) -> 'MetricsLog':
        if self._active:
            host_tensorflow.load()  # before it is imported otherwise
            from clu import metric_writers

            self._file = self._path.open('a')
            self._tensorboard = metric_writers.SummaryWriter(str(self._path.parent))
        return self

    def __exit__(self, *exception) -> None:
        if self._active:
            self._file.close()
            self._tensorboard.close()

    def write(self, step: int, metrics: Metrics, measured: Evaluation | None, to_tensorboard: bool) -> None:
        """Adds a step's line, and its point in TensorBoard if asked to or if the step was evaluated."""
        if not self._active:
            return
        values = {'loss': float(metrics.loss), 'grad_norm': float(metrics.grad_norm)}
        if measured is not None:
            values |= measured._asdict()
        self._file.write(json.dumps({'step': step, **values}) + '\n')
        self._file.flush()
        if to_tensorboard or measured is not None:
            self._tensorboard.write_scalars(step, values)


def _whole_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The steps and lines of a log, without a last line that a kill has torn."""
    if path.exists():
        with path.open() as file:
            for line in file:
                if line.endswith('\n'):
                    yield json.loads(line)['step'], line


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Raises MismatchError naming the fields in which two records of experiments differ.

    The one that is found may be of an earlier version, which had fewer fields.
    """
    with contextlib.suppress(ExperimentError):
        found = Experiment.from_record(found).record
    if differing := differences(found, expected):
        raise MismatchError(
            f'{where} belongs to another configuration: {differing}. '
            'Choose another workdir, or the same configuration.'
        )


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Where nested plain values differ, in words; empty where they do not."""
    found, expected = dict(flat(found)), dict(flat(expected))
    missing = 'nothing'
    return '; '.join(
        f'{name} is {found.get(name, missing)!r} there and {expected.get(name, missing)!r} here'
        for name in sorted({*found, *expected})
        if found.get(name, missing) != expected.get(name, missing)
    )
