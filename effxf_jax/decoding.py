"""Greedy decoding with caches on all local devices, compiled once per shape and length of the prefill."""

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


def prefill_length(given) -> int:
    """How many tokens one parallel pass may process before rows differ: their shortest leading run of given
    ones, rounded down to a multiple of 8 if it is longer.

    Args:
        given: bool `[rows, length]`.
    """
    given = np.asarray(given, bool)
    shortest = int(np.where(given.all(axis=1), given.shape[1], np.argmin(given, axis=1)).min())
    return shortest - shortest % _PREFILL_STEP if shortest > _PREFILL_STEP else shortest


def greedy_decode(model: Transformer, params, tokens, given, prefill: int | None = None) -> np.ndarray:
    """Generates the tokens that are not given, each the most likely one after the tokens before it.

    One parallel pass, the prefill, processes the first tokens, which all rows must be given. The model then
    decodes one token at a time with caches; given tokens are forced. A row ends at the first `<eos>` that it
    generates with no given token after it; decoding stops when every row has ended.

    Args:
        model: the Transformer.
        params: its parameters.
        tokens: int `[batch, length]`; values at positions that are not given are ignored.
        given: bool `[batch, length]`; the first token of each row must be given.
        prefill: how many tokens the prefill processes, by default `prefill_length(given)`. A program is
            compiled for each number and shape, so batches of one evaluation should share it.

    Returns:
        int32 `[batch, length]`: the given and the generated tokens, and `<pad>` after a row's end.

    Raises:
        ValueError: tokens and given differ in shape, a row is longer than the model's max_length, the first
            token of a row is not given, prefill is not a number of tokens that all rows are given, or a given
            token is not an id of the model's vocabulary.
    """
    tokens, given = np.asarray(tokens, np.int32), np.asarray(given, bool)
    if tokens.ndim != 2 or tokens.shape != given.shape or tokens.size == 0:
        raise ValueError(
            f'tokens and given must have one shape [batch, length]; got {tokens.shape}, {given.shape}'
        )
    if tokens.shape[1] > model.config.max_length:
        raise ValueError(f'rows must have at most {model.config.max_length} tokens; got {tokens.shape[1]}')
    if not given[:, 0].all():
        raise ValueError('the first token of every row must be given')
    size = model.config.vocab_size
    strange = tokens[given & ((tokens < 0) | (tokens >= size))]
    if strange.size:
        raise ValueError(f'given tokens must be from 0 to {size - 1}; got {strange[0]}')
    if prefill is None:
        prefill = prefill_length(given)
    elif not (1 <= prefill <= given.shape[1] and given[:, :prefill].all()):
        raise ValueError(f'prefill must be a number of tokens that all rows are given; got {prefill}')
    devices = jax.local_devices()[: math.gcd(len(tokens), jax.local_device_count())]
    out = _decode(model, params, tokens, given, prefill=prefill, devices=tuple(devices))
    return np.asarray(out)


@functools.partial(jax.jit, static_argnames=('model', 'prefill', 'devices'))
def _decode(model: Transformer, params, tokens, given, *, prefill: int, devices: tuple):
    """Distributes the rows over devices; each device stops when its own rows have ended."""
    by_row, whole = PartitionSpec('rows'), PartitionSpec()
    return jax.shard_map(
        functools.partial(_decode_rows, model, prefill),
        mesh=jax.sharding.Mesh(np.array(devices), ('rows',)),
        in_specs=(whole, by_row, by_row),
        out_specs=by_row,
        check_vma=False,
    )(params, tokens, given)


def _decode_rows(model: Transformer, prefill: int, params, tokens, given):
    batch, length = tokens.shape
    apply = functools.partial(model.apply, {'params': params})
    tokens = jnp.where(given, tokens, PAD)
    init_cache = functools.partial(apply, batch, method='init_cache')
    cache_lengths = _cache_lengths(init_cache, prefill, length)
    caches, logits = apply(init_cache(cache_lengths[0]), tokens[:, :prefill], 0, method='prefill')
    ended = jnp.zeros(batch, bool)
    if prefill < length:
        tokens, ended = _write(tokens, given, _last_given(given), ended, logits[:, -1], prefill)
    loop = _Loop(jnp.int32(prefill), tokens, ended, caches)
    for cache_length in cache_lengths:
        room = jax.eval_shape(functools.partial(init_cache, cache_length))
        loop = loop._replace(caches=_padded_to(loop.caches, room))
        # A row's last token is written but not read. Before a cache grows, its last slot stays free too: a
        # full cache may lack what only tokens beyond its length would need.
        loop = _run(apply, given, loop, cache_length - 1)
    return loop.tokens


@functools.partial(jax.jit, static_argnames=('model',))
def continue_rows(model: Transformer, params, caches, tokens, given, position) -> jax.Array:
    """Continues rows from caches, as `greedy_decode` does.

    Args:
        model, params: the Transformer and its parameters.
        caches: caches of the first `position` tokens of each row, with room for `length` tokens.
        tokens: int32 `[batch, length]`; tokens up to and including `position` are read, later ones are forced
            where they are given.
        given: bool `[batch, length]`.
        position: int32 scalar, the position of the first token to read.

    Returns:
        int32 `[batch, length]`: the rows, completed.
    """
    apply = functools.partial(model.apply, {'params': params})
    tokens = jnp.where(given | (jnp.arange(tokens.shape[1]) <= position), tokens, PAD)
    loop = _Loop(jnp.int32(position), tokens, jnp.zeros(len(tokens), bool), caches)
    return _run(apply, given, loop, tokens.shape[1] - 1).tokens


class _Loop(NamedTuple):
    """What a step changes: the position of the next token to read, the rows, which have ended, and caches."""

    position: jax.Array
    tokens: jax.Array
    ended: jax.Array
    caches: Any


def _run(apply, given, loop: _Loop, last: int) -> _Loop:
    """Writes one token at a time until the token at `last` is written or every row has ended."""
    last_given = _last_given(given)

    def step(loop: _Loop) -> _Loop:
        position = loop.position
        token = jax.lax.dynamic_index_in_dim(loop.tokens, position, 1, keepdims=False)
        caches, logits = apply(loop.caches, token, position, method='step')
        tokens, ended = _write(loop.tokens, given, last_given, loop.ended, logits, position + 1)
        return _Loop(position + 1, tokens, ended, caches)

    return jax.lax.while_loop(lambda loop: (loop.position < last) & ~jnp.all(loop.ended), step, loop)


def _last_given(given):
    """The last given position of each row, before which the row cannot end."""
    return given.shape[1] - 1 - jnp.argmax(given[:, ::-1], axis=1)


def _write(tokens, given, last_given, ended, logits, position):
    """Writes the token at `position`, given the logits at the position before; updates which rows ended."""
    chosen = jnp.where(ended, PAD, jnp.argmax(logits, axis=-1).astype(jnp.int32))
    forced = jax.lax.dynamic_index_in_dim(tokens, position, 1, keepdims=False)
    is_given = jax.lax.dynamic_index_in_dim(given, position, 1, keepdims=False)
    token = jnp.where(is_given, forced, chosen)
    tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, position, 1)
    return tokens, ended | ((chosen == EOS) & ~is_given & (position > last_given))


def _cache_lengths(init_cache, prefill: int, length: int) -> list[int]:
    """The lengths of the successive caches; the time of a step grows with its cache's length.

    If caches for a quarter of the tokens are much smaller than those for all, they grow by quarters.
    """
    quarters = [-(-length * i // 4) for i in (1, 2, 3, 4)]
    numbers = lambda n: sum(x.size for x in jax.tree.leaves(jax.eval_shape(lambda: init_cache(n))))
    if numbers(length) < 2 * numbers(quarters[0]):
        return [length]
    return [n for n in quarters if n > prefill or n == length]


def _padded_to(caches, shapes):
    """Pads caches that are not full with zeros to the shapes of longer caches."""

    def pad(x, to):
        widths = [(0, n - m) for m, n in zip(x.shape, to.shape, strict=True)]
        return jnp.pad(x, widths) if any(widths) else x

    return jax.tree.map(pad, caches, shapes)
