"""The files of a run. A process killed at any moment leaves all of them valid.

config.json      the whole configuration
metrics.jsonl    one JSON object per step; TensorBoard's event files are beside it
checkpoints/     see checkpoints.py
samples.txt      a few graded generations
result.json      written last: if it exists, the run is done
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from effxf_jax.data import host_tensorflow
from effxf_jax.evaluation import Evaluation
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.record import ExperimentError, flat
from effxf_jax.training import Metrics


class MismatchError(ValueError):
    """A directory or a host does not match a run's configuration, or a file is damaged."""


class InUseError(RuntimeError):
    """Another process is using a directory."""


class RunDirectory:
    """A run's directory.

    With several hosts, only the first host's directory is active. The others behave as if they were empty,
    ignore writes and need not exist.
    """

    def __init__(self, path: str | os.PathLike, active: bool = True):
        self.path = Path(path)
        self.active = active

    def check(self, config: Mapping[str, Any]) -> None:
        """Checks that the directory has this configuration, or none.

        Raises:
            MismatchError: it has another configuration; the message names the fields that differ.
        """
        found = self.read_object('config.json')
        if found is not None:
            check_same(found, config, str(self.path))

    def claim(self, config: Mapping[str, Any]) -> None:
        """Creates the directory, if needed, and writes the configuration into it.

        Raises:
            MismatchError: the directory has another configuration.
            OSError: the directory cannot be written.
        """
        self.check(config)
        if self.active and not (self.path / 'config.json').exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_text('config.json', json.dumps(config, indent=2) + '\n')

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the directory while entered; the system releases the lock if the process dies.

        Raises:
            InUseError: another process holds the lock.
        """
        if not self.active:
            yield
            return
        with (self.path / '.lock').open('w', encoding='utf-8') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InUseError(f'another process is running in {self.path}') from error
            yield

    def read_result(self) -> dict[str, Any] | None:
        """The content of result.json; None while the run is not done.

        Raises:
            MismatchError: the file is damaged.
        """
        return self.read_object('result.json')

    def read_object(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a file; None if the file does not exist.

        Raises:
            MismatchError: the file does not hold a JSON object.
        """
        text = self.read_text(name)
        if text is None:
            return None
        try:
            return parse_object(text)
        except ValueError as error:
            raise MismatchError(f'{self.path / name} is damaged: it {error}') from error

    def read_text(self, name: str) -> str | None:
        """The text of a file; None if the file does not exist."""
        path = self.path / name
        return path.read_text(encoding='utf-8') if self.active and path.exists() else None

    def write_text(self, name: str, text: str) -> None:
        """Writes a file atomically."""
        if not self.active:
            return
        temporary = self.path / f'.{name}.tmp'
        with temporary.open('w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)


def parse_object(text: str) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
        ValueError: the text is not a JSON object. The message begins with a verb, to follow a file's name.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise ValueError(f'is not JSON: {error}') from error
    if not isinstance(parsed, dict):
        raise ValueError(f'must hold an object; got {text[:40]!r}')
    return parsed


class MetricsLog:
    """Writes the same numbers to metrics.jsonl and to TensorBoard; a context manager."""

    def __init__(self, directory: RunDirectory, start: int):
        """Opens the log to continue after step `start`; lines of later steps are dropped."""
        self._path = directory.path / 'metrics.jsonl'
        self._active = directory.active
        if self._active:
            kept = [line for parsed, line in read_log(self._path) if parsed['step'] <= start]
            directory.write_text('metrics.jsonl', ''.join(kept))

    def __enter__(self) -> 'MetricsLog':
        if self._active:
            host_tensorflow.load()  # before clu imports TensorFlow
            from clu import metric_writers

            self._file = self._path.open('a', encoding='utf-8')
            self._tensorboard = metric_writers.SummaryWriter(str(self._path.parent))
        return self

    def __exit__(self, *exception) -> None:
        if self._active:
            self._file.close()
            self._tensorboard.close()

    def write(self, step: int, metrics: Metrics, measured: Evaluation | None, to_tensorboard: bool) -> None:
        """Adds a step's line and, with `to_tensorboard` or an evaluation, its point in TensorBoard."""
        if not self._active:
            return
        values = {'loss': float(metrics.loss), 'grad_norm': float(metrics.grad_norm)}
        if measured is not None:
            values |= measured._asdict()
        self._file.write(json.dumps({'step': step, **values}) + '\n')
        self._file.flush()
        if to_tensorboard or measured is not None:
            self._tensorboard.write_scalars(step, values)


def read_log(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The lines of a metrics.jsonl, parsed and as text, without a last line that a kill cut short.

    Other lines that are not a step and numbers, such as zeros that a loss of power leaves, are omitted with a
    warning.
    """
    if not path.exists():
        return
    unreadable = []
    with path.open(encoding='utf-8', errors='replace') as file:
        for number, line in enumerate(file, 1):
            if not line.endswith('\n'):
                break
            parsed = _step_and_numbers(line)
            if parsed is None:
                unreadable.append(number)
            else:
                yield parsed, line
    if unreadable:
        logging.warning('%s: unreadable lines are omitted: %s.', path, ', '.join(map(str, unreadable[:9])))


def _step_and_numbers(line: str) -> dict[str, Any] | None:
    try:
        parsed = parse_object(line)
    except ValueError:
        return None
    is_valid = type(parsed.get('step')) is int and all(type(x) in (int, float) for x in parsed.values())
    return parsed if is_valid else None


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Checks that two records describe the same experiment; `found` may be of an earlier version.

    Raises:
        MismatchError: the records differ; the message names the fields.
    """
    with contextlib.suppress(ExperimentError):
        found = Experiment.from_record(found).record
    if differing := differences(found, expected):
        raise MismatchError(
            f'{where} belongs to another configuration: {differing}. '
            'Choose another workdir, or the same configuration.'
        )


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The differences of two nested mappings of plain values, in words; empty if there are none."""
    found, expected = dict(flat(found)), dict(flat(expected))
    missing = 'nothing'
    return '; '.join(
        f'{name} is {found.get(name, missing)!r} there and {expected.get(name, missing)!r} here'
        for name in sorted({*found, *expected})
        if found.get(name, missing) != expected.get(name, missing)
    )
