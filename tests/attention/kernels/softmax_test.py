"""Softmax attention over segments, for cases that no mechanism reaches."""

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.kernels import softmax
from effxf_jax.attention.kernels.softmax import Segment


def test_a_last_group_that_is_not_full_changes_nothing_even_where_every_mask_is_by_block(monkeypatch):
    blocks, block_size = 5, 4
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, blocks, block_size, 8)).astype(np.float32) for _ in 'qkv')
    own = np.tile(np.tri(block_size, dtype=bool), (blocks, 1, 1))
    earlier = np.tri(blocks, k=-1, dtype=bool)[:, None]

    def loss(q, k, v):
        # Also keys shared by all blocks: what a padded row made of them would reach their gradients.
        last = Segment('all', k[:, :, :, -1], v[:, :, :, -1], earlier)
        return jnp.square(softmax.segment_attention(q, [Segment('block', k, v, own), last])).sum()

    at_once = jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)
    monkeypatch.setattr(softmax, '_QUERIES_AT_A_TIME', 2 * block_size)
    in_groups = jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)
    for a, b in zip(jax.tree.leaves(in_groups), jax.tree.leaves(at_once), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
