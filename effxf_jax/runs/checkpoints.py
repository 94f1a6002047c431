"""Orbax checkpoints that survive kills and detect damage.

A checkpoint holds the training state and a JSON record of its run. Orbax writes it to a temporary directory
and renames that at the end, so a process killed while saving leaves earlier checkpoints intact. A checksum
over the arrays detects later damage.

With several hosts, only the first one reads and writes; it sends what it reads to the others. So the hosts
need no common file system, a checkpoint does not depend on their number, and a dead host does not keep the
first one from saving.
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
    """A restored checkpoint.

    Attributes:
        state: the training state, as numpy arrays.
        record: the JSON record saved with the state.
    """

    state: TrainState
    record: dict[str, Any]


class Checkpoints:
    """The latest checkpoints of a run, in a directory.

    A context manager: leaving it waits for saves in the background.
    """

    def __init__(self, directory: str | Path, keep: int = 3, read_only: bool = False):
        """Opens a directory.

        Args:
            directory: need not exist yet; leftovers of killed saves in it are removed.
            keep: how many of the latest checkpoints to keep.
            read_only: change nothing in the directory, which must exist; a run may use it meanwhile.
        """
        self._read_only = read_only
        self._manager = None  # except on the first host
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
        """Saves a state of numpy arrays in the background, unless the step has a checkpoint already."""
        if self._manager is None or step in self._manager.all_steps():
            return
        record = {**record, 'checksum': _checksum(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        self._manager.save(step, args=args, force=True)

    def restore_latest(
        self, like: TrainState, check: Callable[[dict[str, Any]], None] = lambda record: None
    ) -> Restored | None:
        """Restores the newest checkpoint that can be read; returns None if there is none.

        A damaged checkpoint is logged and, unless read_only, removed; then the previous one is tried.

        Args:
            like: a state with the same structure, shapes and dtypes.
            check: receives the record before the state is read, and raises if the record belongs to another
                run; the checkpoint then stays as it is.
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
        """Items of a checkpoint; None, with a warning, if they are damaged."""
        try:
            restored = dict(self._manager.restore(step, args=ocp.args.Composite(**items)).items())
            checksum = restored['record'].pop('checksum')
            if 'state' in restored and _checksum(restored['state']) != checksum:
                raise ValueError('the arrays do not match their checksum')
        except Exception as error:  # Orbax, TensorStore and JSON each raise errors of their own
            reason = str(error).strip().partition('\n')[0][:200]
            name = type(error).__name__
            logging.warning(
                'The checkpoint of step %d is damaged (%s: %s); trying the previous one.', step, name, reason
            )
            return None
        return restored


def _checksum(state: TrainState) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return checksum
