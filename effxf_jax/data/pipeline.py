"""The tf.data pipeline: batches of a source's examples in the order of training.

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

# Every wake of the pipeline's thread takes a core from the model, so it reads for many steps at a time.
_STEPS_READ_AT_ONCE = 32


class Stream:
    """A source's examples in the order of training."""

    def __init__(self, source: Source, seed: int):
        """Opens a source; `seed` is of the epochs' permutations where it ends."""
        self.source = source
        self._permutation = functools.lru_cache(maxsize=2)(
            lambda epoch: np.random.default_rng([seed, epoch]).permutation(source.num_examples)
        )

    def indices(self, step: int, batch_size: int) -> np.ndarray:
        """The examples of batch `step`, int64 `[batch_size]`.

        Batch k is examples k B ... (k + 1) B of an endless source; of one that ends, of its epochs laid end
        to end, each a permutation by (seed, epoch).
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
    """Endless batches from step `start_step` on, prepared ahead of need by tf.data.

    A batch is cut behind its longest row, over all hosts and streams; see `cut_length`.

    Args:
        streams: one, or several to be read side by side.
        batch_size: examples in a stream's batch, over all hosts; divisible by hosts.
        start_step: the first batch's number; reaching it costs nothing.
        host, hosts: which share of each batch to yield.

    Yields:
        Examples `[batch_size / hosts, length]`; of a list of streams, with an axis over them before these.
    """
    if batch_size % hosts:
        raise ValueError(f'batch_size must be divisible by {hosts} hosts; got {batch_size}')

    share = batch_size // hosts
    mine = slice(host * share, (host + 1) * share)

    def read_stream(stream, steps):
        """Tokens and given `[steps, share, length]`, and the longest row of each step's whole batch."""
        indices = np.concatenate([stream.indices(step, batch_size) for step in steps])
        # Every host reads every row, to know where to cut; examples are made in blocks anyway.
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
    options.threading.private_threadpool_size = 1  # one thread is ample, and the cores are the model's
    batches = _batches(dataset.with_options(options))
    _live.add(batches)
    return batches


def _batches(dataset) -> Iterator[Examples]:
    for stretch in dataset.as_numpy_iterator():
        for tokens, given, longest in zip(*stretch, strict=True):
            cut = cut_length(int(longest), tokens.shape[-1])
            yield Examples(tokens[..., :cut], given[..., :cut])


def cut_length(longest: int, max_length: int) -> int:
    """Where a batch is cut whose longest row has `longest` tokens.

    Each length is a train step to be compiled, so there are at most sixteen, and none less than 16 tokens
    apart but the last.
    """
    unit = max(16, -(-max_length // 16))
    return min(-(-longest // unit) * unit, max_length)


# A pipeline's thread waits for the interpreter's lock, so one that is still open when the interpreter ends
# would keep it from ending.
_live: weakref.WeakSet[Iterator[Examples]] = weakref.WeakSet()


@atexit.register
def _close_pipelines() -> None:
    for batches in list(_live):
        batches.close()
