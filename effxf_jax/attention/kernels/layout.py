"""Conversions between the layout of the model's arrays and those of the kernels."""

import jax
import jax.numpy as jnp


def check_qkv(q: jax.Array, k: jax.Array, v: jax.Array) -> None:
    """Raises ValueError unless q, k and v have one shape `[batch, length, heads, head_dim]`."""
    if q.ndim != 4 or q.shape != k.shape or q.shape != v.shape or q.shape[1] < 1:
        raise ValueError(
            'q, k and v must have one shape [batch, length >= 1, heads, head_dim]; '
            f'got q {q.shape}, k {k.shape}, v {v.shape}'
        )


def heads_major(x: jax.Array) -> jax.Array:
    """`[batch, length, heads, head_dim] -> [batch, heads, length, head_dim]`, or the reverse."""
    return x.swapaxes(1, 2)


def heads_major_update(cached, stretch, start):
    """Writes `[batch, length, heads, head_dim]` into `[batch, heads, slots, head_dim]` from slot `start`."""
    return jax.lax.dynamic_update_slice_in_dim(
        cached, heads_major(stretch).astype(cached.dtype), start, axis=2
    )


def blocks_update(cached, stretch, start):
    """Writes `[batch, length, heads, head_dim]` into `[batch, heads, blocks, block_size, head_dim]`."""
    batch, heads, blocks, block_size, head_dim = cached.shape
    flat = cached.reshape(batch, heads, blocks * block_size, head_dim)
    return heads_major_update(flat, stretch, start).reshape(cached.shape)


def token_update(cached, token, position):
    """Writes one token `[batch, heads, head_dim]` into `[batch, heads, blocks, block_size, head_dim]`.

    Written in blocks, as it is read, the array is updated in place; XLA copies one that it must reshape.
    """
    size = cached.shape[3]
    token = token[:, :, None, None].astype(cached.dtype)
    return jax.lax.dynamic_update_slice(cached, token, (0, 0, position // size, position % size, 0))


def cut(x: jax.Array, block_size: int) -> jax.Array:
    """`[batch, length, heads, head_dim] -> [batch, heads, blocks, block_size, head_dim]`, zero-padded."""
    batch, length, heads, head_dim = x.shape
    blocks = -(-length // block_size)
    x = jnp.pad(x, ((0, 0), (0, blocks * block_size - length), (0, 0), (0, 0)))
    return heads_major(x).reshape(batch, heads, blocks, block_size, head_dim)


def join(x: jax.Array) -> jax.Array:
    """`[batch, heads, blocks, block_size, head_dim] -> [batch, blocks * block_size, heads, head_dim]`."""
    batch, heads, blocks, block_size, head_dim = x.shape
    return heads_major(x.reshape(batch, heads, blocks * block_size, head_dim))
