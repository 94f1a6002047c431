"""Loss, optimiser, the pmapped train step, and the loop around it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from effxf_jax.layout import Layout
from effxf_jax.model import Transformer
from effxf_jax.tasks import PAD, Examples
from effxf_jax.tasks.task import produced

SCHEDULES = ('cosine', 'linear')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: updates.
        batch_size: examples in a batch, over all hosts and devices.
        learning_rate: the peak.
        schedule: 'cosine' or 'linear': how the rate falls from its peak to zero.
        warmup_steps: updates over which it rises to its peak, linearly.
        weight_decay: of matrices and embeddings; biases and LayerNorm are spared.
        beta1, beta2: Adam's averages.
        clip_norm: the largest global norm of a gradient.
        num_replicates: so many runs are trained side by side as one program, each as it would be alone, with
            seeds that count up from the configured one.

    Raises:
        ValueError: naming every value that is out of range.
    """

    steps: int
    batch_size: int
    learning_rate: float
    schedule: str = 'cosine'
    warmup_steps: int = 0
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 1.0
    num_replicates: int = 1

    def __post_init__(self):
        problems = [
            f'{name} must be at least 1; got {getattr(self, name)}'
            for name in ('steps', 'batch_size', 'num_replicates')
            if getattr(self, name) < 1
        ]
        problems += [
            f'{name} must be above 0; got {getattr(self, name)}'
            for name in ('learning_rate', 'clip_norm')
            if not getattr(self, name) > 0
        ]
        problems += [
            f'{name} must be in [0, 1); got {getattr(self, name)}'
            for name in ('beta1', 'beta2')
            if not 0 <= getattr(self, name) < 1
        ]
        if not 0 <= self.warmup_steps <= self.steps:
            problems.append(f'warmup_steps must be from 0 to steps; got {self.warmup_steps} of {self.steps}')
        if not self.weight_decay >= 0:
            problems.append(f'weight_decay must be at least 0; got {self.weight_decay}')
        if self.schedule not in SCHEDULES:
            problems.append(f'schedule must be one of {", ".join(SCHEDULES)}; got {self.schedule!r}')
        if problems:
            raise ValueError('\n'.join(problems))


class TrainState(NamedTuple):
    """All that changes while training.

    Attributes:
        step: int32 scalar, updates made.
        params: the model's parameters.
        opt_state: the optimiser's.
    """

    step: jax.Array
    params: optax.Params
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Of one update, over the whole batch.

    Attributes:
        loss: mean negative log-likelihood of a produced token, in nats.
        tokens: tokens of the batch, given and produced, without padding.
        grad_norm: global norm of the gradient, before clipping.
    """

    loss: jax.Array
    tokens: jax.Array
    grad_norm: jax.Array


class DivergedError(FloatingPointError):
    """The loss or the gradient is no longer a finite number."""


def learning_rate_schedule(config: TrainConfig) -> optax.Schedule:
    """The rate by update: a linear rise over warmup_steps, then a fall to zero.

    Zero is reached with the last update if there is a warm-up, and one later if there is none.
    """
    rise = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    rest = max(config.steps - config.warmup_steps, 1)
    if config.schedule == 'cosine':
        fall = optax.cosine_decay_schedule(config.learning_rate, rest)
    else:
        fall = optax.linear_schedule(config.learning_rate, 0.0, rest)
    # The first update uses the schedule at 0; shifted by one so that it is not wasted.
    schedule = optax.join_schedules([rise, fall], [config.warmup_steps])
    return (lambda count: schedule(count + 1)) if config.warmup_steps else schedule


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW behind gradient clipping; only matrices and embeddings decay.

    The predecessor's torch AdamW decays everything but biases and LayerNorm weights [feng; its name test
    misses LayerNorm weights, which we spare as it intends].
    """

    def decayed(params):
        return jax.tree.map_with_path(lambda path, _: path[-1].key in ('kernel', 'embedding'), params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate_schedule(config),
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=decayed,
        ),
    )


def init_state(model: Transformer, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first update, on one device."""
    return _init(model, optimizer, jnp.int32(seed))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(model: Transformer, optimizer: optax.GradientTransformation, seed: jax.Array) -> TrainState:
    params = model.init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))['params']
    return TrainState(jnp.int32(0), params, optimizer.init(params))


class TokenLosses(NamedTuple):
    """Of next-token predictions, `[batch, length - 1]`: column t is of token t + 1.

    Attributes:
        losses: float32, negative log-likelihood in nats, zero where it does not count.
        counts: bool, whether the model must produce the token.
        matches: bool, whether the token is the most likely one.
    """

    losses: jax.Array
    counts: jax.Array
    matches: jax.Array


def token_losses(
    model: Transformer, params, batch: Examples, dropout_key=None, first_row: int | jax.Array = 0
) -> TokenLosses:
    """Runs the model over whole rows and scores each of their produced tokens.

    Args:
        model, params: the Transformer.
        batch: Examples `[batch, length]`.
        dropout_key: None for no dropout.
        first_row: which row of a larger batch comes first here; dropout depends on it.
    """
    logits = model.apply(
        {'params': params},
        batch.tokens[:, :-1],
        deterministic=dropout_key is None,
        first_row=first_row,
        rngs=None if dropout_key is None else {'dropout': dropout_key},
    )
    targets = batch.tokens[:, 1:]
    counts = produced(batch)[:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return TokenLosses(losses * counts, counts, jnp.argmax(logits, axis=-1) == targets)


def make_train_step(
    model: Transformer, optimizer: optax.GradientTransformation, seeds: Sequence[int]
) -> Callable[[TrainState, Examples], tuple[TrainState, Metrics]]:
    """The update, `(state, batch) -> (state, metrics)`, `jax.pmap`ped over devices, vmapped over replicates.

    States, batches and metrics lie as `Layout(len(seeds))` says. The sums of losses and of counted tokens are
    reduced separately, so that the update is that of the whole batch however unevenly its tokens lie. The
    state passed in is donated.

    Args:
        model: the Transformer.
        optimizer: as `make_optimizer` makes it.
        seeds: of dropout, one for each replicate.
    """
    layout = Layout(len(seeds))
    seeds = jnp.asarray(seeds, jnp.int32).reshape(layout.num_groups, layout.replicates_in_group)

    def loss_sum(params, batch, key, first_row):
        losses, counts, _ = token_losses(model, params, batch, key, first_row)
        return jnp.sum(losses), jnp.sum(counts)

    def summed_over_slices(params, batch: Examples, key, first_row):
        """Losses, counted tokens and gradients of a device's rows, some rows at a time."""
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
        tokens = jnp.sum(batch.tokens != PAD)
        loss, count, tokens, gradient = jax.lax.psum(
            (loss, count, tokens, gradient), 'devices', axis_index_groups=layout.axis_index_groups
        )
        count = jnp.maximum(count, 1)  # a batch of which nothing counts has gradient zero, not undefined
        gradient = jax.tree.map(lambda g: g / count, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        return state, Metrics(loss / count, tokens, optax.global_norm(gradient))

    def train_step(states, batches):
        in_group = jax.device_count() // layout.num_groups
        group, place = jnp.divmod(jax.lax.axis_index('devices'), in_group)
        first_row = place * batches.tokens.shape[-2]
        return _vmapped(functools.partial(update, first_row=first_row))(seeds[group], states, batches)

    return jax.pmap(train_step, axis_name='devices', donate_argnums=0)


def _vmapped(function):
    """`jax.vmap`, which costs nothing over an axis of one."""

    def run(*args):
        if len(jax.tree.leaves(args)[0]) > 1:
            return jax.vmap(function)(*args)
        return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], args)))

    return run


# A CPU is faster where the activations of the rows that it takes at a time stay in a cache. So many numbers
# these have in the residual stream, and four times as many, 4 MiB, within a feed-forward layer.
_MOST_AT_A_TIME = 2**18


def _num_slices(rows: int, numbers_in_row: int) -> int:
    """Into how many equal slices to cut a device's rows, of so many numbers of the residual stream each."""
    if jax.default_backend() != 'cpu':
        return 1
    fits = lambda n: rows % n == 0 and rows // n * numbers_in_row <= _MOST_AT_A_TIME
    return next(filter(fits, range(1, rows)), rows)


def run_steps(
    train_step, layout: Layout, state: TrainState, batches: Iterator[Examples], start: int, stop: int
) -> Iterator[tuple[int, TrainState, Callable[[], list[Metrics]]]]:
    """Makes the updates start + 1 ... stop of all replicates.

    Yields, after dispatching each update, its number, the state after it, and a function that waits for each
    replicate's metrics. Whoever asks for metrics one step late never makes a device wait. The state is
    donated to the next update, so use it before going on.
    """
    for step in range(start + 1, stop + 1):
        state, metrics = train_step(state, layout.shard(next(batches)))
        yield step, state, functools.partial(layout.to_host, metrics)


def check_finite(step: int, metrics: Metrics) -> None:
    """Raises DivergedError, naming the step, where loss or gradient are not finite."""
    if not (np.isfinite(metrics.loss) and np.isfinite(metrics.grad_norm)):
        raise DivergedError(
            f'the loss is {metrics.loss} and the norm of its gradient {metrics.grad_norm} at step {step}; '
            'a lower learning_rate or clip_norm, or a longer warmup, may help'
        )
