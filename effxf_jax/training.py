"""Loss, optimiser, the pmapped train step, and the loop around it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import jax_utils

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


def stack(states: Sequence[TrainState]) -> TrainState:
    """States of replicates as one, an axis over them before all others; of one, itself."""
    return states[0] if len(states) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def unstack(stacked, count: int) -> list:
    """The other way round; of metrics too."""
    if count == 1:
        return [stacked]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]


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


def token_losses(model: Transformer, params, batch: Examples, dropout_key=None) -> TokenLosses:
    """Runs the model over whole rows and scores each of their produced tokens.

    Args:
        model, params: the Transformer.
        batch: Examples `[batch, length]`.
        dropout_key: None for no dropout.
    """
    logits = model.apply(
        {'params': params},
        batch.tokens[:, :-1],
        deterministic=dropout_key is None,
        rngs=None if dropout_key is None else {'dropout': dropout_key},
    )
    targets = batch.tokens[:, 1:]
    counts = produced(batch)[:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return TokenLosses(losses * counts, counts, jnp.argmax(logits, axis=-1) == targets)


def make_train_step(
    model: Transformer, optimizer: optax.GradientTransformation, seed: int | Sequence[int]
) -> Callable[[TrainState, Examples], tuple[TrainState, Metrics]]:
    """The update, `jax.pmap`ped over devices: `(state, batch) -> (state, metrics)`.

    State and metrics carry a leading axis over local devices, all copies equal; so does the batch, whose
    copies differ. The sums of losses and of counted tokens are reduced separately, so that the update is
    that of the whole batch however unevenly its tokens lie. The state passed in is donated.

    Args:
        model: the Transformer.
        optimizer: as `make_optimizer` makes it.
        seed: of dropout. Several train as many replicates, vmapped: state, batch and metrics then carry an
            axis over them behind that of the devices.
    """

    def loss_sum(params, batch, key):
        losses, counts, _ = token_losses(model, params, batch, key)
        return jnp.sum(losses), jnp.sum(counts)

    def update(seed: jax.Array, state: TrainState, batch: Examples):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        key = jax.random.fold_in(key, jax.lax.axis_index('devices')) if model.config.dropout else None
        (loss, count), gradient = jax.value_and_grad(loss_sum, has_aux=True)(state.params, batch, key)
        tokens = jnp.sum(batch.tokens != PAD)
        loss, count, tokens, gradient = jax.lax.psum((loss, count, tokens, gradient), 'devices')
        count = jnp.maximum(count, 1)  # a batch of which nothing counts has gradient zero, not undefined
        gradient = jax.tree.map(lambda g: g / count, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        return state, Metrics(loss / count, tokens, optax.global_norm(gradient))

    seeds = jnp.asarray(seed, jnp.int32)
    train_step = functools.partial(jax.vmap(update) if seeds.ndim else update, seeds)
    return jax.pmap(train_step, axis_name='devices', donate_argnums=0)


def to_host(replicated) -> TrainState | Metrics:
    """One copy of replicated arrays, as numpy; waits for the updates that make them."""
    return jax.device_get(jax_utils.unreplicate(replicated))


def shard(batch: Examples) -> Examples:
    """Lays a host's batch out over its devices.

    `[rows, length]`, with or without an axis over replicates before, becomes
    `[devices, rows / devices, length]`, with that axis second.

    Raises:
        ValueError: rows that the devices cannot share evenly.
    """
    devices = jax.local_device_count()
    *replicates, rows, length = batch.tokens.shape
    if rows % devices:
        raise ValueError(f'a batch must be divisible by {devices} devices; got {rows} rows')
    split = (*replicates, devices, rows // devices, length)
    return Examples(*(np.moveaxis(x.reshape(split), -3, 0) for x in batch))


def run_steps(
    train_step, state: TrainState, batches: Iterator[Examples], start: int, stop: int
) -> Iterator[tuple[int, TrainState, Callable[[], Metrics]]]:
    """Makes the updates start + 1 ... stop.

    Yields, after dispatching each update, its number, the state after it, and a function that waits for
    its metrics. Whoever asks for metrics one step late never makes a device wait. The state is donated to
    the next update, so use it before going on.
    """
    for step in range(start + 1, stop + 1):
        state, metrics = train_step(state, shard(next(batches)))
        yield step, state, functools.partial(to_host, metrics)


def check_finite(step: int, metrics: Metrics) -> None:
    """Raises DivergedError, naming the step, where loss or gradient are not finite."""
    if not (np.isfinite(metrics.loss) and np.isfinite(metrics.grad_norm)):
        raise DivergedError(
            f'the loss is {metrics.loss} and the norm of its gradient {metrics.grad_norm} at step {step}; '
            'a lower learning_rate or clip_norm, or a longer warmup, may help'
        )
