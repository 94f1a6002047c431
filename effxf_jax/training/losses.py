"""The next-token loss, over the tokens that a model must produce."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from effxf_jax.model import Transformer
from effxf_jax.tasks import Examples
from effxf_jax.tasks.task import produced


class TokenLosses(NamedTuple):
    """Scores of next-token predictions, `[batch, length - 1]`; column t scores token t + 1.

    Attributes:
        losses: float32, negative log-likelihood in nats; zero for tokens that do not count.
        counts: bool, whether the token counts: whether the model must produce it.
        matches: bool, whether the token is the model's most likely one.
    """

    losses: jax.Array
    counts: jax.Array
    matches: jax.Array


def token_losses(
    model: Transformer, params, batch: Examples, dropout_key=None, first_row: int | jax.Array = 0
) -> TokenLosses:
    """Runs the model over whole rows and scores their produced tokens.

    Args:
        model, params: the Transformer and its parameters.
        batch: Examples `[batch, length]`.
        dropout_key: a random key, or None for no dropout.
        first_row: the index of the first row in a larger batch; dropout depends on it.
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
