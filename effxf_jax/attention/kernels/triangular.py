"""Inverses of unit lower triangular matrices by products of blocks.

LAPACK's solver, which XLA's CPU backend calls, waits for ever where several devices of one process call it.
"""

import jax
import jax.numpy as jnp

from effxf_jax.attention.kernels.softmax import contract


@jax.custom_vjp
def inverse(below: jax.Array) -> jax.Array:
    """The inverse of the identity plus what lies below the diagonal of a matrix.

    The inverses of two neighbouring blocks on the diagonal give the inverse of the block that they are in, as
    in forward substitution by blocks; powers of the matrix, which can be large and cancel, do not occur.

    Args:
        below: float32 `[..., size, size]`; the diagonal and what lies above it are not read.

    Returns:
        float32 `[..., size, size]`.
    """
    size = below.shape[-1]
    whole = 1 << (size - 1).bit_length()
    below = jnp.pad(below, [(0, 0)] * (below.ndim - 2) + [(0, whole - size)] * 2)
    # From blocks of one number on: blocks `[..., whole / block, block, block]`.
    inverses = jnp.ones((*below.shape[:-2], whole, 1, 1), below.dtype)
    block = 1
    while block < whole:
        cut = below.reshape(*below.shape[:-2], whole // (2 * block), 2, block, whole // (2 * block), 2, block)
        # Of each pair of blocks the one below the diagonal.
        corner = jnp.moveaxis(jnp.diagonal(cut[..., 1, :, :, 0, :], axis1=-4, axis2=-2), -1, -3)
        pairs = inverses.reshape(*below.shape[:-2], -1, 2, block, block)
        first, second = pairs[..., 0, :, :], pairs[..., 1, :, :]
        corner = -contract('...ij,...jk,...kl->...il', second, corner, first)
        upper = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        inverses = jnp.concatenate([upper, jnp.concatenate([corner, second], axis=-1)], axis=-2)
        block *= 2
    return inverses[..., 0, :size, :size]


def _forward(below):
    inverted = inverse(below)
    return inverted, inverted


def _backward(inverted, gradient):
    through = contract('...ji,...jk,...lk->...il', inverted, gradient, inverted)
    return (-jnp.tril(through, -1),)


inverse.defvjp(_forward, _backward)
