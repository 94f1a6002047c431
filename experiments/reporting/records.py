"""The grids of sweeps, read from their directories or from files of results."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from effxf_jax.attention import span_options
from experiments.reporting.thresholds import Curve
from experiments.sweeping import archive, outcomes
from experiments.sweeping.cells import short
from experiments.sweeping.outcomes import GridRuns, RecordError, Run


@dataclass(frozen=True)
class GridRecord(GridRuns):
    """A grid's runs, with the quantities that reports need."""

    @property
    def is_of_widths(self) -> bool:
        """Whether the axes are mechanism, size and width."""
        return tuple(self.axes) == ('mechanism', 'size', 'width')

    @property
    def is_of_one_size(self) -> bool:
        """Whether sizes differ in one field alone, so that the growth of a width with it is defined."""
        return not any(',' in size for size in self.axes['size'])

    @property
    def is_of_localities(self) -> bool:
        """Whether sizes differ in locality."""
        return len({self.locality(size) for size in self.axes['size']} - {None}) > 1

    @property
    def is_of_spans(self) -> bool:
        """Whether some mechanisms differ only in the size of their blocks or windows."""
        kinds = [self.kind(mechanism) for mechanism in self.axes['mechanism'] if self.span(mechanism)]
        return len(set(kinds)) < len(kinds)

    @property
    def begun(self) -> list[Run]:
        return [run for run in self.runs if run.experiment is not None]

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.state == 'done']

    @property
    def widths(self) -> list[int]:
        """The widths at which a run has begun."""
        return sorted({run.experiment.model.dim for run in self.begun})

    def length(self, mechanism: str, size: str) -> int | None:
        """The length of the longest sequence, in tokens; None if no run has begun."""
        lengths = (run.experiment.task.max_length for run in self.select(mechanism, size) if run.experiment)
        return next(lengths, None)

    def locality(self, size: str) -> int | None:
        """How many recent tokens determine the next one; None if no constant does, or no run has begun."""
        tasks = (run.experiment.task for run in self.begun if run.labels[1] == size)
        return next((task.locality() for task in tasks), None)

    @staticmethod
    def span(mechanism: str) -> int | None:
        """The size of a mechanism's blocks or of its window; None if the axis value has neither."""
        fields = dict(part.partition('=')[::2] for part in mechanism.split(','))
        return next((int(fields[name]) for name in span_options() if name in fields), None)

    @staticmethod
    def kind(mechanism: str) -> str:
        """A mechanism in short form, without its span."""
        parts = mechanism.split(',')
        return short(','.join(part for part in parts if part.partition('=')[0] not in span_options()))

    def lengths(self, size: str) -> list[int]:
        """The lengths of the longest sequences at a size, in tokens, sorted; mechanisms may differ."""
        return sorted({self.length(mechanism, size) for mechanism in self.axes['mechanism']} - {None})

    def mean_accuracy(self, *labels: str) -> float:
        """The mean accuracy at a point over the seeds that have ended; nan if none has."""
        found = [self.accuracy(run) for run in self.select(*labels)]
        found = [accuracy for accuracy in found if not math.isnan(accuracy)]
        return sum(found) / len(found) if found else math.nan

    def curve(self, mechanism: str, size: str) -> Curve | None:
        """Accuracy over width; None if no run has ended."""
        runs = [run for run in self.select(mechanism, size) if run.experiment]
        ended = [run for run in runs if not math.isnan(self.accuracy(run))]
        if not ended:
            return None
        widths = sorted({run.experiment.model.dim for run in ended})
        seeds = sorted({run.seed for run in ended})
        accuracy = np.full((len(seeds), len(widths)), np.nan)
        for run in ended:
            accuracy[seeds.index(run.seed), widths.index(run.experiment.model.dim)] = self.accuracy(run)
        return Curve(np.array(widths), accuracy)


def read(sources: Iterable[Path]) -> list[GridRecord]:
    """Reads the grids of sweeps.

    Args:
        sources: directories of sweeps, or files of results.

    Raises:
        RecordError: a file does not have the contents that a sweep writes; the message names it.
        OSError: a file cannot be read.
    """
    return [GridRecord(**vars(grid)) for source in sources for grid in _read(source)]


def _read(source: Path) -> list[GridRuns]:
    if source.is_dir():
        return outcomes.read_directory(source)
    if source.suffix != archive.SUFFIX:
        raise RecordError(f'{source} is neither the directory of a sweep nor a file NAME{archive.SUFFIX}')
    return archive.read(source)


def sweep_name(source: Path) -> str:
    """The name of the sweep in a directory or a file of results."""
    return source.resolve().name if source.is_dir() else source.stem
