"""Dropout whose mask is a hash of a seed and the position: cheap on every backend, and the same anywhere.

JAX's own generator, of cryptographic ancestry, takes a tenth of a small model's training step on a CPU.
Whether a number is dropped needs far less: here one round of integer mixing. The bits are a function of the
key and the index alone, so that they do not change under `vmap`, `pmap` or in a resumed run.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Sets numbers to zero with probability `rate` and divides the others by `1 - rate`.

    Attributes:
        rate: in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool, first_row: int | jax.Array = 0) -> jax.Array:
        """`x` itself if deterministic; otherwise a key named 'dropout' must be given.

        `x` may be some rows of a larger array, from `first_row` on: what is dropped of them is the same.
        """
        if deterministic or self.rate == 0:
            return x
        keep = keep_mask(self.make_rng('dropout'), x.shape, self.rate, first_row)
        return jnp.where(keep, x * (1 / (1 - self.rate)), 0)


def keep_mask(
    key: jax.Array, shape: tuple[int, ...], rate: float, first_row: int | jax.Array = 0
) -> jax.Array:
    """bool `shape`, each True with probability `1 - rate` (to within 2^-32).

    The bits of a number depend on its row, the first index counted from `first_row`, and on its place within
    the row, so that rows have the same masks however a batch is padded or shared out. Rows begin multiples of
    2^32 divided by the golden ratio apart, which keeps them from meeting while there are fewer than 2^32 / 3
    numbers in all, in at most 75,000 rows.

    Two words of the key enter before and after the first half of the mixing function lowbias32 (Wellons 2018,
    "Prospecting for Hash Functions"), so that masks of different keys are not shifts of one another.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    rows, *within = shape
    row = jnp.asarray(first_row, jnp.uint32) + jax.lax.iota(jnp.uint32, rows)
    x = row[:, None] * jnp.uint32(0x9E3779B9) + jax.lax.iota(jnp.uint32, math.prod(within))
    x = (x ^ first) * jnp.uint32(0x9E3779B9)
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = ((x ^ (x >> 15)) + second) * jnp.uint32(0x846CA68B)
    x = x ^ (x >> 16)
    return (x >= jnp.uint32(round(rate * 2**32))).reshape(shape)
