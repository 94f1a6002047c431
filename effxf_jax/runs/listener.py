"""The interface through which a run reports its progress."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from effxf_jax.evaluation import Evaluation
from effxf_jax.training import Metrics


class Listener(Protocol):
    """Receives the progress of a run. Replicates are reported together, by their seeds."""

    def started(self, num_params: int, step: int) -> None:
        """Training begins after step `step`."""

    def stepped(self, step: int, metrics: Mapping[int, Metrics]) -> None:
        """The metrics of a step are known."""

    def evaluated(self, step: int, measured: Mapping[int, Evaluation]) -> None:
        """Some test examples have been graded during training."""

    def diverged(self, seed: int, reason: str) -> None:
        """One of several replicates diverged and stops; the others continue."""

    def finished(self, results: Sequence[Mapping[str, Any]], samples: str) -> None:
        """The runs are done; `samples` is the samples.txt of the first one."""


class Silent(Listener):
    """A listener that ignores everything."""
