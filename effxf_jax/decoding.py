"""Greedy decoding with caches, compiled once per shape."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.model import Transformer
from effxf_jax.tasks import EOS, PAD


def greedy_decode(model: Transformer, params, tokens, given) -> np.ndarray:
    """Writes the tokens that are not given, each the most likely one after all before it.

    The batch's shortest leading run of given tokens goes through the model in one parallel pass; from
    there on one token at a time, with caches, where given tokens are forced. A row ends at the first
    `<eos>` that it writes with nothing given after it; decoding stops when every row has ended.

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
    leading_run = np.where(given.all(axis=1), given.shape[1], np.argmin(given, axis=1))
    return np.asarray(_decode(model, params, tokens, given, prefill_length=int(leading_run.min())))


@functools.partial(jax.jit, static_argnames=('model', 'prefill_length'))
def _decode(model: Transformer, params, tokens, given, *, prefill_length: int):
    batch, length = tokens.shape
    apply = functools.partial(model.apply, {'params': params})
    # A row may only end once nothing is given any more.
    last_given = length - 1 - jnp.argmax(given[:, ::-1], axis=1)
    tokens = jnp.where(given, tokens, PAD)

    def write(tokens, ended, logits, position):
        """Fills in the token at `position`, from the logits of the one before it."""
        chosen = jnp.where(ended, PAD, jnp.argmax(logits, axis=-1).astype(jnp.int32))
        forced = jax.lax.dynamic_index_in_dim(tokens, position, 1, keepdims=False)
        is_given = jax.lax.dynamic_index_in_dim(given, position, 1, keepdims=False)
        token = jnp.where(is_given, forced, chosen)
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, position, 1)
        return tokens, ended | ((chosen == EOS) & ~is_given & (position > last_given))

    def unfinished(loop):
        position, _, ended, _ = loop
        return (position < length - 1) & ~jnp.all(ended)

    def step(loop):
        position, tokens, ended, caches = loop
        token = jax.lax.dynamic_index_in_dim(tokens, position, 1, keepdims=False)
        caches, logits = apply(caches, token, position, method='step')
        tokens, ended = write(tokens, ended, logits, position + 1)
        return position + 1, tokens, ended, caches

    caches = apply(batch, method='init_cache')
    caches, logits = apply(caches, tokens[:, :prefill_length], 0, method='prefill')
    ended = jnp.zeros(batch, bool)
    if prefill_length < length:
        tokens, ended = write(tokens, ended, logits[:, -1], prefill_length)
    loop = jnp.int32(prefill_length), tokens, ended, caches
    return jax.lax.while_loop(unfinished, step, loop)[1]
