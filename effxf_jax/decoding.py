"""Greedy decoding with caches on all local devices, compiled once per shape and shortest prompt."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from effxf_jax.model import Transformer
from effxf_jax.tasks import EOS, PAD

_PREFILL_STEP = 8


def greedy_decode(model: Transformer, params, tokens, given) -> np.ndarray:
    """Writes the tokens that are not given, each the most likely one after all before it.

    The batch's shortest leading run of given tokens, or a little less, goes through the model in one parallel
    pass; from there on one token at a time, with caches, where given tokens are forced. A row ends at the
    first `<eos>` that it writes with nothing given after it; decoding stops when every row has ended.

    Args:
        model: the Transformer.
        params: its parameters.
        tokens: int `[batch, length]`; what stands at positions that are not given is ignored.
        given: bool `[batch, length]`; the first token of each row must be given.

    Returns:
        int32 `[batch, length]`: the given tokens and the ones written, and `<pad>` after a row's end.

    Raises:
        ValueError: shapes that do not fit, a row longer than the model's, or one that starts with a
            token that is not given.
    """
    tokens, given = np.asarray(tokens, np.int32), np.asarray(given, bool)
    if tokens.ndim != 2 or tokens.shape != given.shape or tokens.size == 0:
        raise ValueError(
            f'tokens and given must have one shape [batch, length]; got {tokens.shape}, {given.shape}'
        )
    if tokens.shape[1] > model.config.max_length:
        raise ValueError(f'rows of at most {model.config.max_length} tokens; got {tokens.shape[1]}')
    if not given[:, 0].all():
        raise ValueError('the first token of every row must be given')
    leading_run = int(np.where(given.all(axis=1), given.shape[1], np.argmin(given, axis=1)).min())
    # Rounded down, so that batches whose shortest prompts differ a little share one program.
    if leading_run > _PREFILL_STEP:
        leading_run -= leading_run % _PREFILL_STEP
    devices = jax.local_devices()[: math.gcd(len(tokens), jax.local_device_count())]
    out = _decode(model, params, tokens, given, prefill_length=leading_run, devices=tuple(devices))
    return np.asarray(out)


@functools.partial(jax.jit, static_argnames=('model', 'prefill_length', 'devices'))
def _decode(model: Transformer, params, tokens, given, *, prefill_length: int, devices: tuple):
    """Shares the rows out over devices, each of which goes on until its own rows have ended."""
    by_row, whole = PartitionSpec('rows'), PartitionSpec()
    return jax.shard_map(
        functools.partial(_decode_rows, model, prefill_length),
        mesh=jax.sharding.Mesh(np.array(devices), ('rows',)),
        in_specs=(whole, by_row, by_row),
        out_specs=by_row,
        check_vma=False,
    )(params, tokens, given)


def _decode_rows(model: Transformer, prefill_length: int, params, tokens, given):
    batch, length = tokens.shape
    apply = functools.partial(model.apply, {'params': params})
    tokens = jnp.where(given, tokens, PAD)
    init_cache = functools.partial(apply, batch, method='init_cache')
    cache_lengths = _cache_lengths(init_cache, prefill_length, length)
    caches, logits = apply(init_cache(cache_lengths[0]), tokens[:, :prefill_length], 0, method='prefill')
    ended = jnp.zeros(batch, bool)
    if prefill_length < length:
        tokens, ended = _write(tokens, given, _last_given(given), ended, logits[:, -1], prefill_length)
    loop = _Loop(jnp.int32(prefill_length), tokens, ended, caches)
    for cache_length in cache_lengths:
        room = jax.eval_shape(functools.partial(init_cache, cache_length))
        loop = loop._replace(caches=_padded_to(loop.caches, room))
        # A row's last token is written, not read. Before a cache grows, its last place stays free too: what
        # lies there is needed only by what comes after it, so a mechanism need not keep it.
        loop = _run(apply, given, loop, cache_length - 1)
    return loop.tokens


@functools.partial(jax.jit, static_argnames=('model',))
def continue_rows(model: Transformer, params, caches, tokens, given, position) -> jax.Array:
    """Writes on, as `greedy_decode` does, from caches of all before a position.

    Args:
        model, params: the Transformer.
        caches: of the first `position` tokens of each row, with room for `length`.
        tokens: int32 `[batch, length]`; those up to and including `position` are read, or forced where they
            come later and are given.
        given: bool `[batch, length]`.
        position: int32 scalar.

    Returns:
        int32 `[batch, length]`.
    """
    apply = functools.partial(model.apply, {'params': params})
    tokens = jnp.where(given | (jnp.arange(tokens.shape[1]) <= position), tokens, PAD)
    loop = _Loop(jnp.int32(position), tokens, jnp.zeros(len(tokens), bool), caches)
    return _run(apply, given, loop, tokens.shape[1] - 1).tokens


class _Loop(NamedTuple):
    """What a step changes: the position of the token to be read next, and all that is written so far."""

    position: jax.Array
    tokens: jax.Array
    ended: jax.Array
    caches: Any


def _run(apply, given, loop: _Loop, last: int) -> _Loop:
    """Writes a token at a time until the one at `last` is written, or every row has ended."""
    last_given = _last_given(given)

    def step(loop: _Loop) -> _Loop:
        position = loop.position
        token = jax.lax.dynamic_index_in_dim(loop.tokens, position, 1, keepdims=False)
        caches, logits = apply(loop.caches, token, position, method='step')
        tokens, ended = _write(loop.tokens, given, last_given, loop.ended, logits, position + 1)
        return _Loop(position + 1, tokens, ended, caches)

    return jax.lax.while_loop(lambda loop: (loop.position < last) & ~jnp.all(loop.ended), step, loop)


def _last_given(given):
    """The last position given in each row, which may only end behind it."""
    return given.shape[1] - 1 - jnp.argmax(given[:, ::-1], axis=1)


def _write(tokens, given, last_given, ended, logits, position):
    """Fills in the token at `position`, from the logits of the one before it."""
    chosen = jnp.where(ended, PAD, jnp.argmax(logits, axis=-1).astype(jnp.int32))
    forced = jax.lax.dynamic_index_in_dim(tokens, position, 1, keepdims=False)
    is_given = jax.lax.dynamic_index_in_dim(given, position, 1, keepdims=False)
    token = jnp.where(is_given, forced, chosen)
    tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, position, 1)
    return tokens, ended | ((chosen == EOS) & ~is_given & (position > last_given))


def _cache_lengths(init_cache, prefill_length: int, length: int) -> list[int]:
    """For how many tokens caches have room, one after another; a step goes over all the room there is.

    Where the caches of a quarter of the tokens take much less than those of all, they grow by quarters.
    """
    quarters = [-(-length * i // 4) for i in (1, 2, 3, 4)]
    numbers = lambda n: sum(x.size for x in jax.tree.leaves(jax.eval_shape(lambda: init_cache(n))))
    if numbers(length) < 2 * numbers(quarters[0]):
        return [length]
    return [n for n in quarters if n > prefill_length or n == length]


def _padded_to(caches, shapes):
    """A cache with room for more tokens is the smaller one, not yet full, padded with zeros."""

    def pad(x, to):
        widths = [(0, n - m) for m, n in zip(x.shape, to.shape, strict=True)]
        return jnp.pad(x, widths) if any(widths) else x

    return jax.tree.map(pad, caches, shapes)
