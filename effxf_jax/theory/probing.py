"""Is the state a real bottleneck? What becomes of a chain when the state is exchanged, or made smaller.

Rows are cut in the midst of their generation, all at one position; behind the cut they go on from the caches
of the tokens before it. In every mechanism's caches the first axis is over rows and the second over heads.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.mechanism import Cache
from effxf_jax.decoding import continue_rows, greedy_decode
from effxf_jax.model import Transformer
from effxf_jax.tasks import PAD, Examples, Task
from effxf_jax.tasks.task import row_end


class Cut(NamedTuple):
    """Rows that a model writes right, cut in the midst of it.

    Attributes:
        tokens: int32 `[rows, length]`, as the model writes them.
        given: bool `[rows, length]`.
        position: the last token before the cut; it is known by itself.
        caches: of the tokens before it.
        partner: int `[rows]`, another row with the same token at `position`, which goes on differently.
    """

    tokens: np.ndarray
    given: np.ndarray
    position: int
    caches: list[Cache]
    partner: np.ndarray

    def rows(self, chosen) -> 'Cut':
        """Some of the rows, without partners."""
        caches = jax.tree.map(lambda x: x[chosen] if x.ndim else x, self.caches)
        return Cut(self.tokens[chosen], self.given[chosen], self.position, caches, np.arange(0))


class ProbeError(ValueError):
    """A model or its rows cannot be probed; the message says why."""


def cut_rows(model: Transformer, params, task: Task, examples: Examples, position: int | None = None) -> Cut:
    """Lets a model write, and cuts the rows that it gets right and that have a partner.

    Args:
        model, params: the Transformer.
        task: of the examples; it judges the rows.
        examples: `[count, length]`.
        position: where to cut, the last token before; by default amid those where most rows can be cut.

    Raises:
        ProbeError: no two right rows can be cut there that go on differently.
    """
    tokens = greedy_decode(model, params, *examples)
    given = examples.given
    right = np.flatnonzero(task.grade(tokens, given).chain_correct)
    if not len(right):
        raise ProbeError(f'the model gets none of {len(tokens)} problems right; train it longer first')
    tokens, given = tokens[right], given[right]
    prompts = np.where(given.all(axis=1), given.shape[1], np.argmin(given, axis=1))
    ends = row_end(tokens, given)
    # At least the answer and `<eos>` must be to come.
    can_be_cut = lambda at: (prompts <= at) & (at < ends - 1)
    if position is None:
        counts = [np.count_nonzero(can_be_cut(at)) for at in range(tokens.shape[1])]
        best = np.flatnonzero(counts == np.max(counts))
        position = int(best[len(best) // 2])
    inside = np.flatnonzero(can_be_cut(position))
    tokens, given = tokens[inside], given[inside]

    partner = np.full(len(tokens), -1)
    for token in np.unique(tokens[:, position]):
        alike = np.flatnonzero(tokens[:, position] == token)
        for row, other in zip(alike, np.roll(alike, 1), strict=True):
            if (tokens[row, position:] != tokens[other, position:]).any():
                partner[row] = other
    paired = partner >= 0
    if not paired.any():
        raise ProbeError(
            f'no two of {len(right)} right rows can be cut at position {position} and exchanged; '
            'more problems, or another position, may help'
        )
    # Partners of kept rows are kept; a row without one may be one.
    kept = np.flatnonzero(paired | np.isin(np.arange(len(tokens)), partner[paired]))
    place = np.full(len(tokens), -1)
    place[kept] = np.arange(len(kept))
    partner = np.where(paired, place[partner], place)[kept]
    tokens, given = tokens[kept], given[kept]
    return Cut(tokens, given, position, _caches(model, params, tokens, position), partner)


@functools.partial(jax.jit, static_argnames=('model', 'position'))
def _caches(model: Transformer, params, tokens, position: int) -> list[Cache]:
    apply = functools.partial(model.apply, {'params': params})
    empty = apply(*tokens.shape, method='init_cache')
    return apply(empty, tokens[:, :position], 0, method='prefill')[0]


def go_on(model: Transformer, params, cut: Cut, caches: list[Cache] | None = None) -> np.ndarray:
    """What the rows say behind the cut, int32 `[rows, length - position - 1]`, from other caches if given."""
    caches = cut.caches if caches is None else caches
    out = continue_rows(model, params, caches, cut.tokens, cut.given, cut.position)
    return np.asarray(out)[:, cut.position + 1 :]


# Exchanging.


class Followed(NamedTuple):
    """Whose chain, or answer, rows follow once a part of their state is their partner's: shares of them.

    Attributes:
        own, partner: those of the whole state before and after the exchange; where these agree, a row does
            not count.
        neither: the rest.
    """

    own: float
    partner: float
    neither: float


def exchanged(caches: list[Cache], partner: np.ndarray, layer: int | None = None, head: int | None = None):
    """Caches whose rows have their partners' state; of one layer, or of one head of it, or of all."""
    heads = slice(None) if head is None else slice(head, head + 1)

    def swap(x):
        return x.at[:, heads].set(x[partner][:, heads]) if x.ndim else x

    return [
        jax.tree.map(swap, cache) if layer in (None, number) else cache for number, cache in enumerate(caches)
    ]


def sanity(model: Transformer, params, cut: Cut) -> float:
    """Share of rows that go on as their partners do, once they have their whole state.

    What is told later, as letters of a stream, is then the partner's too. Anything below 1 would say that
    something else than the state, the last token and the position carries a problem.
    """
    theirs = go_on(model, params, cut)[cut.partner]
    told = np.where(np.arange(cut.tokens.shape[1]) <= cut.position, cut.tokens, cut.tokens[cut.partner])
    swapped = cut._replace(tokens=told, given=cut.given[cut.partner])
    ours = go_on(model, params, swapped, exchanged(cut.caches, cut.partner))
    return float((ours == theirs).all(axis=1).mean())


def follow(model: Transformer, params, cut: Cut, layer: int, head: int | None = None) -> dict[str, Followed]:
    """Whose 'chain' and whose 'answer' rows follow if one layer, or one head of it, is exchanged."""
    own = go_on(model, params, cut)
    partners = go_on(model, params, cut, exchanged(cut.caches, cut.partner))
    mixed = go_on(model, params, cut, exchanged(cut.caches, cut.partner, layer, head))

    def shares(of) -> Followed:
        before, after, now = of(own), of(partners), of(mixed)
        differ = (before != after).any(axis=1)
        if not differ.any():
            return Followed(math.nan, math.nan, math.nan)
        is_own = (now == before).all(axis=1)[differ].mean()
        is_partners = (now == after).all(axis=1)[differ].mean()
        return Followed(float(is_own), float(is_partners), float(1 - is_own - is_partners))

    return {'chain': shares(lambda rows: rows), 'answer': shares(_last_tokens)}


def _last_tokens(rows: np.ndarray) -> np.ndarray:
    """The last token before each row's `<eos>`: the answer, or the last of its tokens."""
    lengths = np.count_nonzero(rows != PAD, axis=1)
    return np.take_along_axis(rows, np.maximum(lengths - 2, 0)[:, None], axis=1)


# Making smaller.


class Point(NamedTuple):
    """What is left of the rows when the state keeps so many bits.

    Attributes:
        kind: how it was made smaller.
        setting: how far, in the kind's own unit.
        bits: kept of a row's state, at most.
        right: share of rows whose chain is still right, as the task judges.
        kept: share of rows that go on as with the whole state, and so are right; less than `right` where a
            problem has several right chains.
        ceiling: the largest share to be kept that the pigeonhole principle allows.
    """

    kind: str
    setting: int
    bits: float
    right: float
    kept: float
    ceiling: float


class PigeonholeError(AssertionError):
    """More rows go on as they should than the bits can tell apart: bits are miscounted, or some leak."""


def ceiling(cut: Cut, continuations: np.ndarray, bits: float) -> float:
    """The largest share of rows that states of so many bits can make go on as they should.

    States of b bits have at most 2^b values. Rows of one value that have the same last token, and are told
    the same later, go on alike. So of the continuations due behind each last token at most 2^b can be had;
    at best those that most rows need.
    """
    told = np.where(cut.given, cut.tokens, PAD)[:, cut.position :]
    if bits >= math.log2(len(continuations)):
        return 1.0
    values = math.floor(2**bits)
    # Of each last token and later input, how many rows need each continuation.
    needs: dict[bytes, dict[bytes, int]] = {}
    for row, due in enumerate(continuations):
        key = cut.tokens[row, cut.position].tobytes() + told[row].tobytes()
        of_key = needs.setdefault(key, {})
        of_key[due.tobytes()] = of_key.get(due.tobytes(), 0) + 1
    # A state fixes one continuation for every last token and later input.
    most = sum(sum(sorted(of_key.values(), reverse=True)[:values]) for of_key in needs.values())
    return most / len(continuations)


def measure(
    model: Transformer,
    params,
    task: Task,
    cut: Cut,
    kind: str,
    setting: int,
    caches: list[Cache],
    bits: float,
) -> Point:
    """What caches that keep so many bits leave.

    Raises:
        PigeonholeError: they keep more.
    """
    due = go_on(model, params, cut)
    written = go_on(model, params, cut, caches)
    rows = np.concatenate([cut.tokens[:, : cut.position + 1], written], axis=1)
    right = float(task.grade(rows, cut.given).chain_correct.mean())
    kept = float((written == due).all(axis=1).mean())
    point = Point(kind, setting, bits, right, kept, ceiling(cut, due, bits))
    if kept > point.ceiling + 1e-9:
        raise PigeonholeError(
            f'{kind} {setting}: {kept:.4f} of {len(due)} rows go on as they should, '
            f'but {bits:,.1f} bits allow at most {point.ceiling:.4f}'
        )
    return point


def state_numbers(model: Transformer, cut: Cut) -> int:
    """How many numbers of the caches can reach anything behind the cut."""
    config = model.config
    head_dim = config.dim // config.num_heads
    return sum(m.state_size(cut.position, config.num_heads, head_dim) for m in config.mechanisms())


def quantised(caches: list[Cache], bits: int) -> list[Cache]:
    """Each number as one of 2^bits values, evenly over the range of its layer and head in all rows."""

    def round_off(x):
        if not x.ndim:
            return x
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        low, high = x.min(axis=axes, keepdims=True), x.max(axis=axes, keepdims=True)
        step = jnp.maximum(high - low, 1e-30) / (2**bits - 1)
        return low + jnp.round((x - low) / step) * step

    return jax.tree.map(round_off, caches)


def truncated(caches: list[Cache], rank: int) -> list[Cache]:
    """Each matrix of linear attention's state as the nearest one of a rank, in the spectral norm."""

    def cut_off(cache):
        if not hasattr(cache, 'key_value'):
            return cache
        u, s, v = np.linalg.svd(np.asarray(cache.key_value), full_matrices=False)
        return cache._replace(key_value=jnp.asarray((u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]))

    return [cut_off(cache) for cache in caches]


def truncated_numbers(model: Transformer, cut: Cut, rank: int) -> int:
    """The numbers that fix a state truncated to a rank: a d x d matrix of rank r has r (2 d - r)."""
    config = model.config
    head_dim = config.dim // config.num_heads
    spared = head_dim**2 - rank * (2 * head_dim - rank)
    matrices = sum(hasattr(cache, 'key_value') for cache in cut.caches) * config.num_heads
    return state_numbers(model, cut) - matrices * spared


def codebook(cut: Cut, bits: int, seed: int = 0) -> list[Cache]:
    """Each row's whole state as the nearest of 2^bits states of the rows: so many bits in all.

    Nearness is that of the numbers, each layer and kind of number scaled to the same spread.
    """
    count = len(cut.tokens)
    leaves = [x for x in jax.tree.leaves(cut.caches) if x.ndim]
    scaled = [np.asarray(x, np.float32).reshape(count, -1) for x in leaves]
    flat = np.concatenate([(x - x.mean(axis=0)) / (x.std() + 1e-12) for x in scaled], axis=1)
    words = np.sort(np.random.default_rng(seed).choice(count, min(2**bits, count), replace=False))
    squares = (flat**2).sum(axis=1)
    distance = squares[:, None] + squares[None, words] - 2 * flat @ flat[words].T
    nearest = words[distance.argmin(axis=1)]
    return exchanged(cut.caches, nearest)


SHRINKERS: tuple[str, ...] = ('bits a number', 'rank', 'bits in all')


def shrink(
    model: Transformer, params, task: Task, cut: Cut, kind: str, settings, full_bits: int = 32
) -> list[Point]:
    """Measures one kind of SHRINKERS at some settings.

    Raises:
        PigeonholeError: a point lies above its ceiling.
    """
    make: Callable[[int], tuple[list[Cache], float]]
    if kind == 'bits a number':
        make = lambda n: (quantised(cut.caches, n), n * state_numbers(model, cut))
    elif kind == 'rank':
        make = lambda n: (truncated(cut.caches, n), full_bits * truncated_numbers(model, cut, n))
    else:
        make = lambda n: (codebook(cut, n), n)
    return [measure(model, params, task, cut, kind, n, *make(n)) for n in settings]
