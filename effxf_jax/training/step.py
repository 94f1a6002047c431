"""The pmapped train step."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import flatten_util

from effxf_jax.model import Transformer
from effxf_jax.tasks import PAD, Examples
from effxf_jax.training.layout import Layout
from effxf_jax.training.losses import token_losses


class TrainState(NamedTuple):
    """Everything that an update changes.

    Attributes:
        step: int32 scalar, number of updates made.
        params: the model's parameters.
        opt_state: the optimiser's state.
    """

    step: jax.Array
    params: optax.Params
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Metrics of one update, over the whole batch; or arrays of them, one element per update.

    Attributes:
        loss: mean negative log-likelihood of a produced token, in nats.
        tokens: number of tokens in the batch, given and produced, without padding.
        grad_norm: global norm of the gradient, before clipping.
    """

    loss: jax.Array
    tokens: jax.Array
    grad_norm: jax.Array


def init_state(model: Transformer, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first update, on one device."""
    return _init(model, optimizer, jnp.int32(seed))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(model: Transformer, optimizer: optax.GradientTransformation, seed: jax.Array) -> TrainState:
    params = model.init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))['params']
    return TrainState(jnp.int32(0), params, optimizer.init(params))


def make_train_step(
    model: Transformer, optimizer: optax.GradientTransformation, seeds: Sequence[int]
) -> Callable[[TrainState, Examples, int], tuple[TrainState, Metrics]]:
    """Makes `(state, batches, count) -> (state, metrics)`: one update on each of the first `count` batches.

    The step is pmapped over devices and vmapped over replicates. `Layout(len(seeds))` defines the layout of
    states, batches and metrics; metrics of updates that are not made are zero. The count is no constant of
    the compiled program: one program makes any number of updates, and their result does not depend on how
    they are divided into calls. Devices sum losses and counted tokens separately, so the loss is the mean
    over the batch's tokens even if these are distributed unevenly. The state passed in is donated.

    Args:
        model: the Transformer.
        optimizer: the result of `make_optimizer`.
        seeds: the seeds of dropout, one per replicate.
    """
    layout = Layout(len(seeds))
    seeds = jnp.asarray(seeds, jnp.int32).reshape(layout.num_groups, layout.replicates_in_group)

    def loss_sum(params, batch, key, first_row):
        losses, counts, _ = token_losses(model, params, batch, key, first_row)
        return jnp.sum(losses), jnp.sum(counts, dtype=jnp.int32)

    def summed_over_slices(params, batch: Examples, key, first_row):
        """Sums the losses, counted tokens and gradients of a device's rows, one slice of rows at a time."""
        rows, length = batch.tokens.shape
        slices = _num_slices(rows, length * model.config.dim * layout.replicates_in_group)

        def add_slice(sums, number):
            take = lambda x: jax.lax.dynamic_slice_in_dim(x, number * (rows // slices), rows // slices)
            row = first_row + number * (rows // slices)
            (loss, count), gradient = jax.value_and_grad(loss_sum, has_aux=True)(
                params, Examples(*map(take, batch)), key, row
            )
            return jax.tree.map(jnp.add, sums, (loss, count, gradient)), None

        zero = jnp.float32(0), jnp.int32(0), jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add_slice, zero, jnp.arange(slices), unroll=slices == 1)[0]

    def update(seed, state: TrainState, batch: Examples, first_row):
        key = jax.random.fold_in(jax.random.key(seed), state.step) if model.config.dropout else None
        loss, count, gradient = summed_over_slices(state.params, batch, key, first_row)
        tokens = jnp.sum(batch.tokens != PAD, dtype=jnp.int32)
        # Two arrays in all: devices wait for each other once for every array that they sum.
        flat, unflatten = flatten_util.ravel_pytree((loss, gradient))
        counts = jnp.stack([count, tokens])
        flat, (count, tokens) = jax.lax.psum(
            (flat, counts), 'devices', axis_index_groups=layout.axis_index_groups
        )
        loss, gradient = unflatten(flat)
        count = jnp.maximum(count, 1)  # if no token counts, the gradient is zero, not NaN
        gradient = jax.tree.map(lambda g: g / count, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        return state, Metrics(loss / count, tokens, optax.global_norm(gradient))

    def train_step(states, batches, count):
        in_group = jax.device_count() // layout.num_groups
        group, place = jnp.divmod(jax.lax.axis_index('devices'), in_group)
        update_all = _vmapped(functools.partial(update, first_row=place * batches.tokens.shape[-2]))

        def next_update(number, carry):
            states, metrics = carry
            batch = jax.tree.map(lambda x: x[:, number], batches)
            states, of_update = update_all(seeds[group], states, batch)
            return states, jax.tree.map(lambda all, x: all.at[:, number].set(x), metrics, of_update)

        zeros = functools.partial(jnp.zeros, batches.tokens.shape[:2])
        metrics = Metrics(zeros(jnp.float32), zeros(jnp.int32), zeros(jnp.float32))
        return jax.lax.fori_loop(0, count, next_update, (states, metrics))

    return jax.pmap(train_step, axis_name='devices', in_axes=(0, 0, None), donate_argnums=0)


def _vmapped(function):
    """`jax.vmap`, except that over an axis of one the function is called as it is, which is faster."""

    def run(*args):
        if len(jax.tree.leaves(args)[0]) > 1:
            return jax.vmap(function)(*args)
        return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], args)))

    return run


# On a CPU a step is faster if the activations of a slice of rows fit a cache. This is the largest size of the
# residual stream in a slice; the activations in a feed-forward layer are four times as many, 4 MiB.
_MOST_AT_A_TIME = 2**18


def _num_slices(rows: int, numbers_in_row: int) -> int:
    """How many equal slices to cut a device's rows into, given the size of a row's residual stream."""
    if jax.default_backend() != 'cpu':
        return 1
    fits = lambda n: rows % n == 0 and rows // n * numbers_in_row <= _MOST_AT_A_TIME
    return next(filter(fits, range(1, rows)), rows)
