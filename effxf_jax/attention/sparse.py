"""Block-sparse softmax attention: the own block, and a summary of every earlier one.

The "fixed" pattern of Child et al. (2019), which the paper's Sparse Transformer is taken to use: a
query attends causally within its own block of `block_size` positions, and to the last `summary_size`
positions of every earlier block.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.mechanism import Cost, Mechanism, check_qkv
from effxf_jax.attention.standard import heads_major_update, masked_attention


class BlockMask(NamedTuple):
    """The pattern, declared block by block.

    Attributes:
        within: bool `[block_size, block_size]`: the keys of its own block that a query sees.
        across: bool `[blocks, blocks]`: the blocks whose summaries a block's queries see.
        summary_size: how many positions, at a block's end, make its summary.
    """

    within: np.ndarray
    across: np.ndarray
    summary_size: int

    def dense(self) -> np.ndarray:
        """The same pattern over single positions, bool `[queries, keys]`; for tests and pictures."""
        blocks, block_size = len(self.across), len(self.within)
        in_summary = np.arange(block_size) >= block_size - self.summary_size
        own = np.kron(np.eye(blocks, dtype=bool), self.within)
        earlier = np.kron(self.across, np.broadcast_to(in_summary, (block_size, block_size)))
        return own | earlier


class SparseCache(NamedTuple):
    """The current block and the summaries of the blocks before it.

    Attributes:
        key, value: `[batch, heads, block_size, head_dim]`, zero where the block is not filled yet.
        summary_key, summary_value: `[batch, heads, (blocks - 1) * summary_size, head_dim]`.
        index: int32 scalar, the number of tokens seen.
    """

    key: jax.Array
    value: jax.Array
    summary_key: jax.Array
    summary_value: jax.Array
    index: jax.Array


def block_mask(blocks: int, block_size: int, summary_size: int) -> BlockMask:
    """The fixed pattern of `sparse` over `blocks` blocks."""
    return BlockMask(
        within=np.tri(block_size, dtype=bool),
        across=np.tri(blocks, k=-1, dtype=bool),
        summary_size=summary_size,
    )


def default_block_size(length: int) -> int:
    """The largest power of two <= sqrt(length)."""
    return 2 ** int(math.log2(math.isqrt(length)))


def sparse(block_size: int | None = None, summary_size: int = 1) -> Mechanism:
    """Softmax attention under the fixed pattern, at the price of the pairs that it keeps.

    Scores are computed for the diagonal blocks and for one strip of summaries, O(L * block_size +
    L * summary_size * L / block_size), that is O(L sqrt(L)) at block_size = Theta(sqrt(L)). As in a dense
    causal kernel, the half of each of the two that lies in the future is computed and masked.

    Args:
        block_size: positions in a block; None means the largest power of two <= sqrt(L), where L is
            the length given to `at_length`, or else the length of the call.
        summary_size: positions in a block's summary, at most block_size.

    Raises:
        ValueError: a size is not positive, or the summary is larger than the block.
    """
    if summary_size < 1 or (block_size is not None and block_size < summary_size):
        raise ValueError(
            f'sparse attention needs 1 <= summary_size <= block_size; '
            f'got summary_size {summary_size}, block_size {block_size}'
        )

    def size_for(length: int) -> int:
        return block_size or max(default_block_size(length), summary_size)

    def attend(q, k, v):
        check_qkv(q, k, v)
        batch, length, heads, head_dim = q.shape
        size = size_for(length)
        blocks = -(-length // size)
        padding = ((0, 0), (0, blocks * size - length), (0, 0), (0, 0))
        q, k, v = (jnp.pad(x, padding).reshape(batch, blocks, size, heads, head_dim) for x in (q, k, v))
        out = attend_blocks(q, k, v, block_mask(blocks, size, summary_size))
        return out.reshape(batch, blocks * size, heads, head_dim)[:, :length]

    def init_cache(batch, length, heads, head_dim, dtype):
        size = size_for(length)
        block = jnp.zeros((batch, heads, size, head_dim), dtype)
        blocks = -(-length // size)
        summary = jnp.zeros((batch, heads, (blocks - 1) * summary_size, head_dim), dtype)
        return SparseCache(block, block, summary, summary, jnp.int32(0))

    def state_size(length, heads, head_dim):
        size = size_for(length)
        earlier = -(-length // size) - 1
        return 2 * (min(size, length) + earlier * summary_size) * heads * head_dim

    def cost(length, heads, head_dim):
        size = size_for(length)
        positions = np.arange(length)
        pairs = int(np.sum(positions % size + 1 + positions // size * summary_size))
        numbers = 4 * length * heads * head_dim + pairs * heads
        return Cost(macs=2 * pairs * heads * head_dim, bytes=4 * numbers)

    return Mechanism(
        name=f'sparse(block_size={block_size}, summary_size={summary_size})',
        attend=attend,
        init_cache=init_cache,
        step=functools.partial(_step, summary_size=summary_size),
        prefill=functools.partial(_prefill, summary_size=summary_size),
        cost=cost,
        state_size=state_size,
        at_length=lambda max_length: sparse(size_for(max_length), summary_size),
    )


def attend_blocks(q, k, v, mask: BlockMask, earlier=None):
    """Attention over whole blocks, under a block mask.

    Args:
        q, k, v: `[batch, blocks, block_size, heads, head_dim]`.
        mask: the pattern; its sizes fit.
        earlier: None, or keys and values `[batch, slots, heads, head_dim]` of summaries from before
            the first block, and bool `[slots]`, which of them there are.

    Returns:
        `[batch, blocks, block_size, heads, head_dim]`, in q's dtype.
    """
    batch, blocks, block_size, heads, head_dim = q.shape
    key_summary, value_summary = (
        x[:, :, block_size - mask.summary_size :].reshape(batch, -1, heads, head_dim) for x in (k, v)
    )
    sees_summary = jnp.asarray(np.repeat(mask.across, mask.summary_size, axis=1))
    if earlier is not None:
        earlier_key, earlier_value, present = earlier
        key_summary = jnp.concatenate([earlier_key, key_summary], axis=1)
        value_summary = jnp.concatenate([earlier_value, value_summary], axis=1)
        present = jnp.broadcast_to(present, (blocks, present.shape[0]))
        sees_summary = jnp.concatenate([present, sees_summary], axis=1)

    scores = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    q = q * head_dim**-0.5
    own = scores('bnqhd,bnkhd->bnhqk', q, k)
    own = jnp.where(mask.within, own, -jnp.inf)
    summary = scores('bnqhd,bshd->bnhqs', q, key_summary)
    summary = jnp.where(sees_summary[:, None, None, :], summary, -jnp.inf)
    weights = jax.nn.softmax(jnp.concatenate([own, summary], axis=-1), axis=-1).astype(v.dtype)
    out = jnp.einsum('bnhqk,bnkhd->bnqhd', weights[..., :block_size], v)
    out += jnp.einsum('bnhqs,bshd->bnqhd', weights[..., block_size:], value_summary)
    return out.astype(q.dtype)


def _prefill(cache: SparseCache, q, k, v, *, summary_size: int):
    """Continues a cache by a stretch: the stretch, laid after the current block, is whole blocks again."""
    check_qkv(q, k, v)
    batch, stretch, heads, head_dim = q.shape
    block_size = cache.key.shape[2]
    blocks = -(-(block_size - 1 + stretch) // block_size)  # enough wherever in a block it starts
    first_block, offset = cache.index // block_size, cache.index % block_size
    slots = cache.summary_key.shape[2]

    def lay_out(stretch_values, current):
        room = jnp.zeros((batch, blocks * block_size, heads, head_dim), current.dtype)
        room = room.at[:, :block_size].set(current.swapaxes(1, 2))
        room = jax.lax.dynamic_update_slice_in_dim(room, stretch_values.astype(current.dtype), offset, axis=1)
        return room.reshape(batch, blocks, block_size, heads, head_dim)

    key, value = lay_out(k, cache.key), lay_out(v, cache.value)
    query = lay_out(q, jnp.zeros_like(cache.key, dtype=q.dtype))
    present = jnp.arange(slots) < first_block * summary_size
    out = attend_blocks(
        query,
        key,
        value,
        block_mask(blocks, block_size, summary_size),
        earlier=(cache.summary_key.swapaxes(1, 2), cache.summary_value.swapaxes(1, 2), present),
    )
    out = out.reshape(batch, blocks * block_size, heads, head_dim)
    out = jax.lax.dynamic_slice_in_dim(out, offset, stretch, axis=1)

    index = cache.index + stretch
    last_block = jnp.minimum(index // block_size - first_block, blocks - 1)
    filled = (jnp.arange(block_size) < index % block_size)[:, None, None]

    def current_block(x):
        block = jax.lax.dynamic_index_in_dim(x, last_block, 1, keepdims=False)
        return jnp.where(filled, block, 0).swapaxes(1, 2)

    def extended(summary, x):
        new = x[:, :, block_size - summary_size :].reshape(batch, -1, heads, head_dim)
        room = jnp.concatenate([summary, jnp.zeros_like(new.swapaxes(1, 2))], axis=2)
        return heads_major_update(room, new, first_block * summary_size)[:, :, :slots]

    return SparseCache(
        current_block(key),
        current_block(value),
        extended(cache.summary_key, key),
        extended(cache.summary_value, value),
        index,
    ), out


def _step(cache: SparseCache, q, k, v, *, summary_size: int):
    """Continues a cache by one token: its one query over the current block and the summaries."""
    block_size, slots = cache.key.shape[2], cache.summary_key.shape[2]
    block, offset = cache.index // block_size, cache.index % block_size
    key = heads_major_update(cache.key, k[:, None], offset)
    value = heads_major_update(cache.value, v[:, None], offset)
    seen = jnp.concatenate([jnp.arange(block_size) <= offset, jnp.arange(slots) < block * summary_size])
    out = masked_attention(
        q[:, None],
        jnp.concatenate([key, cache.summary_key], axis=2),
        jnp.concatenate([value, cache.summary_value], axis=2),
        seen[None],
    )

    place = offset - (block_size - summary_size)  # in the block's summary, if it is of it
    slot = block * summary_size + place
    belongs = (place >= 0) & (slot < slots)

    def extended(summary, x):
        if not slots:
            return summary
        at = jnp.clip(slot, 0, slots - 1)
        there = jax.lax.dynamic_slice_in_dim(summary, at, 1, axis=2).swapaxes(1, 2)
        return heads_major_update(summary, jnp.where(belongs, x[:, None], there), at)

    is_full = offset == block_size - 1
    return SparseCache(
        jnp.where(is_full, 0, key),
        jnp.where(is_full, 0, value),
        extended(cache.summary_key, k),
        extended(cache.summary_value, v),
        cache.index + 1,
    ), out[:, 0]
