"""Orbax checkpoints that a killed process can trust.

A checkpoint holds the training state and a JSON record of the run it belongs to. Orbax writes it to a
temporary directory and renames that at the end, so a process killed while saving leaves the checkpoints
before intact; a checksum over the arrays catches what is damaged later.

Of several hosts the first alone reads and writes, and tells the others what it read. So they need no common
file system, a checkpoint knows nothing of their number, and a dead host keeps no other from saving.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from effxf_jax.runs import hosts
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

    def __init__(self, directory: str | Path, keep: int = 3, read_only: bool = False):
        """Opens a directory.

        It need not exist yet, and leftovers of killed saves are removed; read_only, it must, and nothing in
        it is changed, so that a run can go on in it meanwhile.
        """
        self._read_only = read_only
        self._manager = None  # of a host that is not the first
        if jax.process_index() > 0:
            return
        directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,
            # Orbax would wait for the other hosts at every save.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        if not read_only:
            directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(directory, options=options, item_names=('state', 'record'))

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *exception) -> None:
        if self._manager is not None:
            self._manager.close()

    def save(self, step: int, state: TrainState, record: dict[str, Any]) -> None:
        """Saves a state of numpy arrays under a step, in the background; what is there already stays."""
        if self._manager is None or step in self._manager.all_steps():
            return
        record = {**record, 'checksum': _checksum(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        self._manager.save(step, args=args, force=True)

    def restore_latest(
        self, like: TrainState, check: Callable[[dict[str, Any]], None] = lambda record: None
    ) -> Restored | None:
        """The newest checkpoint that can be read; None where there is none.

        A damaged one is reported, removed unless read_only, and the one before it tried.

        Args:
            like: a state of the same structure, shapes and dtypes.
            check: is given the record before the state is read, and raises if it is not of this run; a
                checkpoint so refused stays as it is.
        """
        return hosts.from_first(lambda: self._restore_latest(like, check))

    def _restore_latest(self, like: TrainState, check: Callable[[dict[str, Any]], None]) -> Restored | None:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, jax.device_get(like))
        for step in sorted(self._manager.all_steps(), reverse=True):
            record = self._read(step, record=ocp.args.JsonRestore())
            if record is not None:
                check(record['record'])
                restored = self._read(
                    step, state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore()
                )
                if restored is not None:
                    return Restored(TrainState(*restored['state']), restored['record'])
            if not self._read_only:
                self._manager.delete(step)
        return None

    def _read(self, step: int, **items: ocp.args.CheckpointArgs) -> dict[str, Any] | None:
        """Items of a checkpoint; None, with a warning, where they are damaged."""
        try:
            restored = dict(self._manager.restore(step, args=ocp.args.Composite(**items)).items())
            checksum = restored['record'].pop('checksum')
            if 'state' in restored and _checksum(restored['state']) != checksum:
                raise ValueError('the arrays do not match their checksum')
        except Exception as error:  # Orbax, TensorStore and JSON each raise their own for damage
            reason = str(error).strip().partition('\n')[0][:200]
            name = type(error).__name__
            logging.warning(
                'The checkpoint of step %d is damaged (%s: %s); trying the one before.', step, name, reason
            )
            return None
        return restored


def _checksum(state: TrainState) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return checksum
