"""Softmax attention to parts of the keys, merged afterwards as if it were one."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.softmax import contract


class Partial(NamedTuple):
    """Attention to some keys, float32, before the division by the sum of the weights.

    Attributes:
        out: `[..., queries, head_dim]`, the sum of weighted values.
        total: `[..., queries]`, the sum of weights.
        top: `[..., queries]`, the largest score, from which weights are measured; -inf if no key is seen.
    """

    out: jax.Array
    total: jax.Array
    top: jax.Array


@jax.checkpoint
def attend(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, share: jax.Array | None = None
) -> Partial:
    """Attends to some keys; the backward pass computes the weights again.

    Args:
        q: `[..., queries, head_dim]`.
        k, v: `[..., keys, head_dim]`.
        mask: bool, broadcasts to `[..., queries, keys]`: whether a query sees a key; None: all.
        share: given, how much a key counts for a query, broadcasts to `[..., queries, keys]`.
    """
    scores = contract('...qd,...kd->...qk', q, k) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    top = jax.lax.stop_gradient(scores.max(axis=-1))
    # Where no key is seen, all scores are -inf and all weights zero.
    weights = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0)[..., None])
    if share is not None:
        weights *= share
    out = contract('...qk,...kd->...qd', weights.astype(v.dtype), v)
    return Partial(out, weights.sum(axis=-1), top)


def merge(parts: Sequence[Partial]) -> jax.Array:
    """The attention to the keys of all parts, float32 `[..., queries, head_dim]`.

    Every query must see a key in one of them.
    """
    # Sums of a few arrays: XLA's CPU backend takes ten times as long to reduce a short first axis.
    top = functools.reduce(jnp.maximum, [part.top for part in parts])
    scales = [jnp.exp(part.top - top) for part in parts]
    total = sum(scale * part.total for scale, part in zip(scales, parts, strict=True))
    out = sum(scale[..., None] * part.out for scale, part in zip(scales, parts, strict=True))
    return out / total[..., None]
