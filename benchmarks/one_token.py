"""The time of one token of one row, decoded with caches."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks import measure
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import EOS

STEPS_AT_POSITION = 32


def with_random_weights(config: ModelConfig):
    """A model, and parameters with which no row ends."""
    model = Transformer(config)
    params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))['params']
    params['head']['bias'] = params['head']['bias'].at[EOS].set(-1e9)
    return model, params


def microseconds_at(model: Transformer, params, positions: Sequence[int]) -> dict[int, float]:
    """The time of one token of one row, by the number of tokens before it, with the decoder's step.

    The model's max_length must fit the last position and STEPS_AT_POSITION more. Caches have room for exactly
    the tokens up to the end of the measurement (those of `greedy_decode` grow by quarters of a row).
    """

    @functools.partial(jax.jit, static_argnames='position')
    def prefill(params, position):
        apply = functools.partial(model.apply, {'params': params})
        caches = apply(1, position + STEPS_AT_POSITION, method='init_cache')
        return apply(caches, jnp.ones((1, position), jnp.int32), 0, method='prefill')[0]

    @jax.jit
    def write(params, caches, position):
        apply = functools.partial(model.apply, {'params': params})

        def one(step, loop):
            caches, token = loop
            caches, logits = apply(caches, token, position + step, method='step')
            return caches, jnp.argmax(logits, axis=-1).astype(jnp.int32)

        return jax.lax.fori_loop(0, STEPS_AT_POSITION, one, (caches, jnp.ones(1, jnp.int32)))[1]

    def call(position):
        caches = prefill(params, position)
        return lambda: jax.block_until_ready(write(params, caches, position))

    seconds = measure.in_turn({position: call(position) for position in positions})
    return {position: value / STEPS_AT_POSITION * 1e6 for position, value in seconds.items()}
