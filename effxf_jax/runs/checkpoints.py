"""Orbax checkpoints that survive kills and detect damage.

A checkpoint holds the training state and a JSON record of its run. Orbax writes it to a temporary directory
and renames that at the end, so a process killed while saving leaves earlier checkpoints intact. Among its
files is a list of the others with their checksums, and the record has one of the arrays.

Only a checksum proves damage. A damaged checkpoint is set aside, in the directory `damaged`, and the one
before it is restored. If a checkpoint cannot be restored for any other reason, such as a file system that
fails or another version of Orbax, nothing is changed, and the reason is raised.

With several hosts, only the first one reads and writes; it sends what it reads to the others. So the hosts
need no common file system, a checkpoint does not depend on their number, and a dead host does not keep the
first one from saving.
"""

import contextlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from effxf_jax.runs import hosts
from effxf_jax.training import TrainState

FILES = 'files.json'
"""The file of a checkpoint that lists the size and the checksum of the others."""

# Orbax writes the time of the renaming into this file, after the list is made.
_UNLISTED = ('_CHECKPOINT_METADATA', FILES)


# Orbax logs the traceback of an error in each thread that it passes; it is raised too, and said once.
logging.get_absl_logger().addFilter(lambda record: not (record.exc_info and 'orbax' in record.pathname))


class CheckpointError(OSError):
    """A checkpoint cannot be saved, or not be restored for another reason than damage; or all are damaged."""


class _DamagedError(Exception):
    """A checksum proves damage."""


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
        self._saving = None
        if jax.process_index() > 0:
            return
        self._directory = directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._list_files),
            # Orbax would wait for the other hosts at every save.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        if not read_only:
            directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(directory, options=options, item_names=('state', 'record'))

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, kind, *_) -> None:
        if self._manager is None:
            return
        try:
            self._wait()
        except CheckpointError:
            if kind is None:  # an exception that is under way says more
                raise
        finally:
            with contextlib.suppress(Exception):  # what a failed save raises again
                self._manager.close()

    def _wait(self) -> None:
        """Waits for a save in the background.

        Raises:
            CheckpointError: it has failed.
        """
        with self._saving_step():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _saving_step(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and TensorStore each raise errors of their own
            raise CheckpointError(
                f'the checkpoint of step {self._saving} cannot be saved ({_in_short(error)}). '
                'Earlier ones are kept; the same command resumes'
            ) from error

    def save(self, step: int, state: TrainState, record: dict[str, Any]) -> None:
        """Saves a state of numpy arrays in the background, unless the step has a checkpoint already.

        Raises:
            CheckpointError: this save or the one before has failed, for example on a full disk.
        """
        if self._manager is None or step in self._manager.all_steps():
            return
        self._wait()
        self._saving = step
        record = {**record, 'checksum': _checksum(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        with self._saving_step():
            self._manager.save(step, args=args, force=True)

    def _list_files(self) -> None:
        """Lists the files of the checkpoint being saved, when they are complete, before it gets its name."""
        for path in self._directory.glob(f'{self._saving}.*'):
            (path / FILES).write_text(json.dumps(_files(path)), encoding='utf-8')

    def restore_latest(
        self, like: TrainState, check: Callable[[dict[str, Any]], None] = lambda record: None
    ) -> Restored | None:
        """Restores the newest checkpoint that is not damaged; returns None if there is none at all.

        A damaged checkpoint is logged and, unless read_only, set aside.

        Args:
            like: a state with the same structure, shapes and dtypes.
            check: receives the record before the state is read, and raises if the record belongs to another
                run; the checkpoint then stays as it is.

        Raises:
            CheckpointError: the newest checkpoint cannot be read for another reason than damage, or there are
                only damaged ones; the message names the checkpoint and the reason.
        """
        return hosts.from_first(lambda: self._restore_latest(like, check))

    def _restore_latest(self, like: TrainState, check: Callable[[dict[str, Any]], None]) -> Restored | None:
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._restore(step, like, check)
            except _DamagedError as error:
                place = '' if self._read_only else f'; it is set aside as {self._set_aside(step)}'
                logging.warning('The checkpoint of step %d is damaged (%s)%s.', step, error, place)
        if steps:
            restart = '' if self._read_only else '. Another start begins at step 0'
            raise CheckpointError(f'all checkpoints in {self._directory} are damaged{restart}')
        return None

    def _restore(self, step: int, like: TrainState, check: Callable[[dict[str, Any]], None]) -> Restored:
        _check_files(self._directory / str(step))
        with self._restoring(step) as restore:
            record = restore(record=ocp.args.JsonRestore())['record']
            checksum = record.pop('checksum')
        check(record)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, jax.device_get(like))
        with self._restoring(step) as restore:
            state = TrainState(*restore(state=ocp.args.StandardRestore(abstract))['state'])
        if _checksum(state) != checksum:
            raise _DamagedError('the arrays do not match their checksum')
        return Restored(state, record)

    @contextlib.contextmanager
    def _restoring(self, step: int) -> Iterator[Callable[..., Any]]:
        """Yields a function that restores items of a checkpoint, whose files are as they were written."""
        try:
            yield lambda **items: self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # Orbax, TensorStore and JSON each raise errors of their own
            raise CheckpointError(
                f'the checkpoint {self._directory / str(step)} cannot be restored ({_in_short(error)}), '
                'although no checksum proves it damaged. To continue from the one before it, move it away'
            ) from error

    def _set_aside(self, step: int) -> Path:
        """Moves a checkpoint out of the way; returns its new place."""
        aside = self._directory / 'damaged'
        aside.mkdir(exist_ok=True)
        names = (f'{step}{suffix}' for suffix in itertools.chain([''], (f'-{n}' for n in itertools.count(2))))
        place = next(aside / name for name in names if not (aside / name).exists())
        (self._directory / str(step)).rename(place)
        self._manager.reload()
        return place


def _check_files(path: Path) -> None:
    """Compares a checkpoint's files with their list; one that was saved without a list is not checked.

    Raises:
        _DamagedError: a file is missing or has another content; the message names the files.
        CheckpointError: a file cannot be read.
    """
    try:
        if not (path / FILES).exists():
            return
        text, found = (path / FILES).read_text(encoding='utf-8', errors='replace'), _files(path)
    except OSError as error:
        raise CheckpointError(f'the checkpoint {path} cannot be read: {error}') from error
    try:
        listed = json.loads(text)
    except ValueError:
        listed = None
    if not isinstance(listed, dict) or not listed:
        raise _DamagedError(f'{FILES} is not a list of files')
    changed = [name for name in listed if found.get(name) != listed[name]]
    if changed:
        more = f' and {len(changed) - 1} others' if len(changed) > 1 else ''
        raise _DamagedError(f'{changed[0]}{more} changed after it was saved')


def _files(path: Path) -> dict[str, list[int]]:
    """The size and the CRC-32 of every file of a checkpoint that is listed."""
    paths = sorted(p for p in path.rglob('*') if p.is_file() and p.name not in _UNLISTED)
    contents = ((p.relative_to(path).as_posix(), p.read_bytes()) for p in paths)
    return {name: [len(content), zlib.crc32(content)] for name, content in contents}


def _in_short(error: Exception) -> str:
    line = str(error).strip().partition('\n')[0]
    if len(line) > 200:  # the cause may stand at the end
        line = f'{line[:80]} ... {line[-110:]}'
    return f'{type(error).__name__}: {line}'


def _checksum(state: TrainState) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return checksum
