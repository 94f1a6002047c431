"""The learning rate by update, and the optimiser."""

import jax
import optax

from effxf_jax.training.config import TrainConfig


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
