"""Who watches a run."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from effxf_jax.evaluation import Evaluation
from effxf_jax.training import Metrics


class Listener(Protocol):
    """What a run tells whoever watches it. Of runs side by side, all are told of together, by their seeds."""

    def started(self, num_params: int, step: int) -> None:
        """Training begins, after `step` steps made earlier."""

    def stepped(self, step: int, metrics: Mapping[int, Metrics]) -> None:
        """A step's metrics have come."""

    def evaluated(self, step: int, measured: Mapping[int, Evaluation]) -> None:
        """Some test examples have been graded."""

    def diverged(self, seed: int, reason: str) -> None:
        """One run of several is given up; the others go on."""

    def finished(self, results: Sequence[Mapping[str, Any]], samples: str) -> None:
        """The runs are done; samples are the first one's."""


class Silent(Listener):
    """To which nothing matters."""
