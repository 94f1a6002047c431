"""Orbax checkpoints that a killed process can trust.

A checkpoint holds the training state and a JSON record of the run it belongs to. Orbax writes it to a
temporary directory and renames that at the end, so a process killed while saving leaves the checkpoints
before intact; a checksum over the arrays catches what is damaged later.
"""

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from effxf_jax.training import TrainState


class Restored(NamedTuple):
    """A checkpoint.

    Attributes:
        state: the training state, numpy arrays.
        record: the JSON record saved with it.
    """

    state: TrainState
    record: dict[str, Any]


class Checkpoints:
    """The checkpoints in a directory, the latest few of them.

    Use as a context manager, so that what is being saved in the background is finished.
    """

    def __init__(self, directory: str | Path, keep: int = 3):
        """Opens a directory, which need not exist yet; leftovers of killed saves are removed."""
        self._manager = ocp.CheckpointManager(
            Path(directory).absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True),
            item_names=('state', 'record'),
        )

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def save(self, state: TrainState, record: dict[str, Any], wait: bool = False) -> None:
        """Saves a state of numpy arrays under its step, in the background unless `wait`."""
        record = {**record, 'checksum': _checksum(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        self._manager.save(int(state.step), args=args, force=True)
        if wait:
            self._manager.wait_until_finished()

    def restore_latest(self, like: TrainState) -> Restored | None:
        """The newest checkpoint that can be read; None where there is none.

        A damaged one is reported, removed, and the one before it tried.

        Args:
            like: a state of the same structure, shapes and dtypes.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, jax.device_get(like))
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore()
                    ),
                )
                if _checksum(restored.state) != restored.record['checksum']:
                    raise ValueError('the arrays do not match their checksum')
            except Exception as error:  # Orbax, TensorStore and JSON each raise their own for damage
                reason = str(error).strip().partition('\n')[0][:200]
                logging.warning(
                    'The checkpoint of step %d is damaged (%s: %s); trying the one before.',
                    step,
                    type(error).__name__,
                    reason,
                )
                self._manager.delete(step)
            else:
                record = {key: value for key, value in restored.record.items() if key != 'checksum'}
                return Restored(TrainState(*restored.state), record)
        return None


def _checksum(state: TrainState) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return checksum
