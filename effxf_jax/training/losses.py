"""The loss of next-token prediction, over the tokens that a model must produce."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from effxf_jax.model import Transformer
from effxf_jax.tasks import Examples
from effxf_jax.tasks.task import produced


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
