"""How fast a state forgets: the gates of recurrent mechanisms.

A gate is a number a in (0, 1] for each head and token, by which the state is multiplied.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from effxf_jax.attention.mechanism import Projection

_TEMPERATURE = 16.0


class Gate(NamedTuple):
    """A gate.

    Attributes:
        projections: the projections that it needs, behind those of queries, keys and values.
        log: `(v, *inputs) -> log a`, float32 `[..., heads]`, given the values `[..., heads, head_dim]` and
            the inputs that the projections yield.
    """

    projections: tuple[Projection, ...]
    log: Callable[..., jax.Array]


def _off(v: jax.Array) -> jax.Array:
    return jnp.zeros(v.shape[:-1], jnp.float32)


def _fixed(v: jax.Array) -> jax.Array:
    heads = v.shape[-2]
    rates = jnp.log1p(-(2.0 ** (-5.0 - jnp.arange(heads, dtype=jnp.float32))))
    return jnp.broadcast_to(rates, v.shape[:-1])


def _learned(v: jax.Array, gate: jax.Array) -> jax.Array:
    del v
    return jax.nn.log_sigmoid(gate[..., 0].astype(jnp.float32)) / _TEMPERATURE


GATES = {
    'off': Gate((), _off),
    'fixed': Gate((), _fixed),
    'learned': Gate((Projection('gate', size=1, decays=False),), _learned),
}
"""The gates by name.

off: a = 1.
fixed: a = 1 - 2^(-5 - h) for head h, from 0 (RetNet: Sun et al. 2023, arXiv 2307.08621, equation 8).
learned: a = sigmoid(x)^(1/16), x a linear map of the token with one number for each head (GLA: Yang et al.
    2024, arXiv 2312.06635, section 4.4, there for each feature; Mamba-2 has one for each head).
"""


def find(name: str) -> Gate:
    """The gate of a name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in GATES:
        raise ValueError(f'gate must be one of {", ".join(GATES)}; got {name!r}')
    return GATES[name]
