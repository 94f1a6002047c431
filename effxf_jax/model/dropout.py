"""Dropout whose mask is a hash of a key and an index: cheap and identical on every backend.

JAX's own generator, derived from a cryptographic one, takes a tenth of a small model's training step on a
CPU. A dropout mask needs only one round of integer mixing. The bits are a function of the key and the index
alone, so they are the same under `vmap`, under `pmap` and in a resumed run.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Sets elements to zero with probability `rate` and divides the others by `1 - rate`.

    Attributes:
        rate: the probability, in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool, first_row: int | jax.Array = 0) -> jax.Array:
        """Applies dropout, which requires an rng named 'dropout'; returns `x` if deterministic.

        `x` may be the rows of a larger array from `first_row` on; their masks are those in the larger array.
        """
        if deterministic or self.rate == 0:
            return x
        keep = keep_mask(self.make_rng('dropout'), x.shape, self.rate, first_row)
        return jnp.where(keep, x * (1 / (1 - self.rate)), 0)


def keep_mask(
    key: jax.Array, shape: tuple[int, ...], rate: float, first_row: int | jax.Array = 0
) -> jax.Array:
    """A bool array of the given shape, each element True with probability `1 - rate` (to within 2^-32).

    An element depends on its row (its first index plus `first_row`) and on its index within the row, so a
    row's mask stays the same if a batch is padded or distributed over devices. The hashed counters of
    successive rows start 2^32 divided by the golden ratio apart, so rows do not overlap while there are fewer
    than 2^32 / 3 elements in total, in at most 75,000 rows.

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
