"""The tf.data pipeline: batches of a source's examples in training order.

A batch is a function of its number alone, so a stream resumes at any step in constant time.
"""

import atexit
import functools
import weakref
from collections.abc import Iterator

import numpy as np

from effxf_jax.data import host_tensorflow
from effxf_jax.data.sources import Source
from effxf_jax.tasks import PAD, Examples

# The pipeline's thread takes a core from the model whenever it wakes, so it reads many steps at a time.
_STEPS_READ_AT_ONCE = 32


class Stream:
    """A source's examples in training order."""

    def __init__(self, source: Source, seed: int):
        """Opens a source; `seed` fixes the permutation of each epoch of a finite source."""
        self.source = source
        self._permutation = functools.lru_cache(maxsize=2)(
            lambda epoch: np.random.default_rng([seed, epoch]).permutation(source.num_examples)
        )

    def indices(self, step: int, batch_size: int) -> np.ndarray:
        """The indices of the examples of batch `step`, int64 `[batch_size]`.

        Batch k of an endless source holds examples k B ... (k + 1) B - 1. A finite source is repeated, each
        epoch a permutation that depends on (seed, epoch), and cut into batches in the same way.
        """
        indices = step * batch_size + np.arange(batch_size)
        if self.source.num_examples is None:
            return indices
        epochs, places = np.divmod(indices, self.source.num_examples)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            places[here] = self._permutation(int(epoch))[places[here]]
        return places


def train_batches(
    streams: Stream | list[Stream], batch_size: int, start_step: int = 0, host: int = 0, hosts: int = 1
) -> Iterator[Examples]:
    """Yields batches without end from step `start_step` on; tf.data prepares them in advance.

    A batch is cut after its longest row, over all hosts and streams; see `cut_length`.

    Args:
        streams: one stream, or a list of streams to read side by side.
        batch_size: examples in one batch of a stream, over all hosts; divisible by hosts.
        start_step: number of the first batch; starting late takes no time.
        host, hosts: this host's index and the number of hosts; each host yields its share of every batch.

    Yields:
        Examples `[batch_size / hosts, length]`; `[streams, batch_size / hosts, length]` for a list.
    """
    if batch_size % hosts:
        raise ValueError(f'batch_size must be divisible by {hosts} hosts; got {batch_size}')

    share = batch_size // hosts
    mine = slice(host * share, (host + 1) * share)

    def read_stream(stream, steps):
        """Tokens and given `[steps, share, length]`, and the length of each whole batch's longest row."""
        indices = np.concatenate([stream.indices(step, batch_size) for step in steps])
        # Every host reads all rows to know where to cut; examples are generated in whole blocks anyway.
        tokens, given = (x.reshape(len(steps), batch_size, -1) for x in stream.source.read(indices))
        return tokens[:, mine], given[:, mine], np.count_nonzero(tokens != PAD, axis=2).max(axis=1)

    def read(first):
        steps = range(first, first + _STEPS_READ_AT_ONCE)
        if isinstance(streams, Stream):
            return read_stream(streams, steps)
        tokens, given, longest = zip(*(read_stream(stream, steps) for stream in streams), strict=True)
        return np.stack(tokens, axis=1), np.stack(given, axis=1), np.max(longest, axis=0)

    tf = host_tensorflow.load()
    dataset = tf.data.Dataset.range(start_step, tf.int64.max, _STEPS_READ_AT_ONCE)
    types = [tf.int32, tf.bool, tf.int64]
    dataset = dataset.map(lambda first: tf.numpy_function(read, [first], types)).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1  # one thread is enough; the model needs the cores
    batches = _batches(dataset.with_options(options))
    _live.add(batches)
    return batches


def _batches(dataset) -> Iterator[Examples]:
    for stretch in dataset.as_numpy_iterator():
        for tokens, given, longest in zip(*stretch, strict=True):
            cut = cut_length(int(longest), tokens.shape[-1])
            yield Examples(tokens[..., :cut], given[..., :cut])


def cut_length(longest: int, max_length: int) -> int:
    """The length to which a batch is cut if its longest row has `longest` tokens.

    The train step is compiled for every length, so there are at most sixteen lengths, at least 16 tokens
    apart except for the last.
    """
    unit = max(16, -(-max_length // 16))
    return min(-(-longest // unit) * unit, max_length)


# A pipeline's thread waits for the interpreter's lock, so a pipeline that is still open at exit would block
# the exit.
_live: weakref.WeakSet[Iterator[Examples]] = weakref.WeakSet()


@atexit.register
def _close_pipelines() -> None:
    for batches in list(_live):
        batches.close()
