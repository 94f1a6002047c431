"""A later version of the library: fields with defaults are new in model, training, task and mechanism."""

import dataclasses

from effxf_jax import attention, tasks
from effxf_jax.attention import linear
from effxf_jax.model import ModelConfig
from effxf_jax.runs import record
from effxf_jax.tasks.lis import LongestIncreasingSubsequence
from effxf_jax.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class LaterModel(ModelConfig):
    norm: str = 'layer'


@dataclasses.dataclass(frozen=True)
class LaterTrain(TrainConfig):
    ema: float = 0.0


@dataclasses.dataclass(frozen=True)
class LaterTask(LongestIncreasingSubsequence):
    ties: str = 'strict'


LaterTask.__name__ = LongestIncreasingSubsequence.__name__


def later_linear(feature_map: str = 'elu_plus_one', chunk_size: int = 64, gate: str = 'none'):
    return linear(feature_map, chunk_size)


def patch(monkeypatch):
    """Makes the library the later version, until the monkeypatch is undone."""
    monkeypatch.setitem(tasks.TASKS, 'lis', LaterTask)
    monkeypatch.setitem(attention.MECHANISMS, 'linear', later_linear)
    monkeypatch.setitem(record.SECTIONS, 'model', LaterModel)
    monkeypatch.setitem(record.SECTIONS, 'train', LaterTrain)
