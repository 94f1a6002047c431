"""Is the state a real bottleneck? Measures how chains continue after the state is exchanged or made smaller.

Rows are cut during their generation, all at one position; after the cut they continue from the caches of the
tokens before it. In every mechanism's caches the first axis is over rows and the second over heads.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention.mechanism import Cache
from effxf_jax.decoding import continue_rows, greedy_decode
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import PAD, Examples, Task
from effxf_jax.tasks.task import row_end


class Cut(NamedTuple):
    """Rows that a model writes correctly, cut during their generation.

    Attributes:
        tokens: int32 `[rows, length]`, as the model writes them.
        given: bool `[rows, length]`, the tokens that the model receives.
        position: index of the last token before the cut, which is known without the state.
        caches: caches of the tokens before `position`.
        partner: int `[rows]`, index of another row with the same token at `position` that continues
            differently.
    """

    tokens: np.ndarray
    given: np.ndarray
    position: int
    caches: list[Cache]
    partner: np.ndarray

    @property
    def paired(self) -> np.ndarray:
        """Indices of rows that have a partner; the other rows are partners only, with their own index."""
        return np.flatnonzero(self.partner != np.arange(len(self.partner)))


class ProbeError(ValueError):
    """A model or its rows cannot be probed; the message says why."""


def cut_rows(model: Transformer, params, task: Task, examples: Examples, position: int | None = None) -> Cut:
    """Generates rows, and cuts those that are right and have a partner.

    Rows are left out if rounding makes them continue differently from the caches of a parallel pass.

    Args:
        model, params: the Transformer and its parameters.
        task: the task of the examples; it grades the rows.
        examples: problems, `[count, length]`.
        position: index of the last token before the cut; by default in the middle of the positions at which
            most rows can be cut.

    Raises:
        ProbeError: no two right rows can be cut there that continue differently.
    """
    if task.answer_mode == 'direct':
        raise ProbeError('a direct answer has no chain to cut')
    tokens, given = greedy_decode(model, params, *examples), examples.given
    right = np.flatnonzero(task.grade(tokens, given).chain_correct)
    if not len(right):
        raise ProbeError(f'the model gets none of {len(tokens)} problems right; train it longer first')
    tokens, given = tokens[right], given[right]
    prompts = np.where(given.all(axis=1), given.shape[1], np.argmin(given, axis=1))
    ends = row_end(tokens, given)
    # At least the answer and `<eos>` must come after the cut.
    can_be_cut = lambda at: (prompts <= at) & (at < ends - 1)
    if position is None:
        counts = [np.count_nonzero(can_be_cut(at)) for at in range(tokens.shape[1])]
        best = np.flatnonzero(counts == np.max(counts))
        position = int(best[len(best) // 2])
    inside = np.flatnonzero(can_be_cut(position))
    nothing = ProbeError(
        f'no two of {len(right)} right rows can be cut at position {position} and exchanged; '
        'more problems, or another position, may help'
    )
    if not len(inside):
        raise nothing
    tokens, given = tokens[inside], given[inside]
    cut = Cut(tokens, given, position, _caches(model, params, tokens, position), np.arange(len(tokens)))
    steady = (go_on(model, params, cut) == tokens[:, position + 1 :]).all(axis=1)

    partner = cut.partner.copy()
    for token in np.unique(tokens[:, position]):
        alike = np.flatnonzero(steady & (tokens[:, position] == token))
        for row, other in zip(alike, np.roll(alike, 1), strict=True):
            if (tokens[row, position:] != tokens[other, position:]).any():
                partner[row] = other
    paired = partner != cut.partner
    if not paired.any():
        raise nothing
    # A row without a partner may be the partner of another.
    kept = np.flatnonzero(paired | np.isin(cut.partner, partner[paired]))
    place = np.full(len(tokens), -1)
    place[kept] = np.arange(len(kept))
    caches = jax.tree.map(lambda x: x[kept] if x.ndim else x, cut.caches)
    return Cut(tokens[kept], given[kept], position, caches, place[partner[kept]])


@functools.partial(jax.jit, static_argnames=('model', 'position'))
def _caches(model: Transformer, params, tokens, position: int) -> list[Cache]:
    apply = functools.partial(model.apply, {'params': params})
    empty = apply(*tokens.shape, method='init_cache')
    return apply(empty, tokens[:, :position], 0, method='prefill')[0]


def go_on(model: Transformer, params, cut: Cut, caches: list[Cache] | None = None) -> np.ndarray:
    """The rows' continuations, int32 `[rows, length - position - 1]`, from the cut's caches or other ones."""
    caches = cut.caches if caches is None else caches
    out = continue_rows(model, params, caches, cut.tokens, cut.given, cut.position)
    return np.asarray(out)[:, cut.position + 1 :]


# Exchanging states.


class Followed(NamedTuple):
    """Whose chain, or answer, rows follow after a part of their state is replaced by their partner's.

    Attributes:
        own, partner: shares of the rows that write the same as with their own whole state, and the same as
            with their partner's. Rows for which these two agree do not count.
        neither: share of the other rows.
    """

    own: float
    partner: float
    neither: float


def exchanged(caches: list[Cache], partner: np.ndarray, layer: int | None = None, head: int | None = None):
    """Caches whose rows have their partners' state: in all layers, in one layer, or in one head of it."""
    heads = slice(None) if head is None else slice(head, head + 1)

    def swap(x):
        return x.at[:, heads].set(x[partner][:, heads]) if x.ndim else x

    return [
        jax.tree.map(swap, cache) if layer in (None, number) else cache for number, cache in enumerate(caches)
    ]


def sanity(model: Transformer, params, cut: Cut) -> float:
    """Share of the paired rows that continue as their partners do, given the partners' whole state.

    Tokens given later, such as letters of a stream, are then the partner's, too. A share below 1 means that
    something other than the state, the last token and the position carries information about a problem.
    """
    theirs = go_on(model, params, cut)[cut.partner]
    told = np.where(np.arange(cut.tokens.shape[1]) <= cut.position, cut.tokens, cut.tokens[cut.partner])
    swapped = cut._replace(tokens=told, given=cut.given[cut.partner])
    ours = go_on(model, params, swapped, exchanged(cut.caches, cut.partner))
    return float((ours == theirs).all(axis=1)[cut.paired].mean())


def follow(
    model: Transformer, params, task: Task, cut: Cut
) -> Iterator[tuple[int, int | None, dict[str, Followed]]]:
    """Measures whose 'chain' and whose 'answer' rows follow if one layer's or one head's state is exchanged.

    Layers whose heads differ in their caches are exchanged as a whole only.

    Yields:
        The layer; the head, None for all heads; and the shares.
    """
    own = go_on(model, params, cut)
    partners = go_on(model, params, cut, exchanged(cut.caches, cut.partner))
    for layer in range(model.config.num_layers):
        count = model.config.num_heads
        is_by_head = all(x.shape[1] == count for x in jax.tree.leaves(cut.caches[layer]) if x.ndim)
        for head in (None, *range(count if is_by_head else 0)):
            mixed = go_on(model, params, cut, exchanged(cut.caches, cut.partner, layer, head))
            answers = [_answers(task, rows) for rows in (own, partners, mixed)]
            yield layer, head, {'chain': _shares(own, partners, mixed), 'answer': _shares(*answers)}


def _shares(own: np.ndarray, partners: np.ndarray, mixed: np.ndarray) -> Followed:
    differ = (own != partners).any(axis=1)
    if not differ.any():
        return Followed(math.nan, math.nan, math.nan)
    is_own = (mixed == own).all(axis=1)[differ].mean()
    is_partners = (mixed == partners).all(axis=1)[differ].mean()
    return Followed(float(is_own), float(is_partners), float(1 - is_own - is_partners))


def _answers(task: Task, rows: np.ndarray) -> np.ndarray:
    """The tokens after the last end of a step, moved to the first column; `<pad>` elsewhere."""
    ends = np.isin(rows, [task.vocabulary.ids()[token] for token in task.step_ends])
    start = np.where(ends.any(axis=1), rows.shape[1] - np.argmax(ends[:, ::-1], axis=1), 0)
    columns = start[:, None] + np.arange(rows.shape[1])
    return np.take_along_axis(np.pad(rows, ((0, 0), (0, rows.shape[1]))), columns, axis=1)


# Making states smaller.


class Point(NamedTuple):
    """How rows continue from a state that is limited to some number of bits.

    Attributes:
        kind: how the state was made smaller; see `shrink`.
        setting: how much is left of it, in the unit of the kind.
        bits: largest number of bits that are kept of a row's state.
        right: share of rows whose chain is still right, by the task's grade.
        kept: share of rows that continue as with the whole state, and so are right; less than `right` if a
            problem has several right chains.
        ceiling: the largest value of `kept` that the pigeonhole principle allows.
    """

    kind: str
    setting: int
    bits: float
    right: float
    kept: float
    ceiling: float


COMPONENT_BITS = 4
_FLOAT_BITS = 32


class PigeonholeError(AssertionError):
    """More rows continue as before than the bits can tell apart: bits are miscounted or information leaks."""


def ceiling(cut: Cut, continuations: np.ndarray, bits: float) -> float:
    """The largest share of rows that can continue as in `continuations` from states of this many bits.

    States of b bits have at most 2^b values. Rows with the same state, last token and later input (tokens
    given after the cut) continue alike. So for each last token and later input at most 2^b continuations are
    possible; the share is largest if they are the ones that most rows need.
    """
    if bits >= math.log2(len(continuations)):
        return 1.0
    told = np.where(cut.given, cut.tokens, PAD)[:, cut.position :]
    values = math.floor(2**bits + 1e-9)
    # For each last token and later input, how many rows need each continuation.
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
    """Measures how the rows continue from caches that keep this many bits.

    Raises:
        PigeonholeError: the caches keep more bits.
    """
    due = cut.tokens[:, cut.position + 1 :]
    written = go_on(model, params, cut, caches)
    rows = np.concatenate([cut.tokens[:, : cut.position + 1], written], axis=1)
    right = float(task.grade(rows, cut.given).chain_correct.mean())
    kept = float((written == due).all(axis=1).mean())
    point = Point(kind, setting, bits, right, kept, ceiling(cut, due, bits))
    if kept > point.ceiling + 1e-9:
        raise PigeonholeError(
            f'{kind} {setting}: {kept:.4f} of {len(due)} rows continue as before, '
            f'but {bits:,.1f} bits allow at most {point.ceiling:.4f}'
        )
    return point


def _numbers(caches: list[Cache]) -> np.ndarray:
    """The numbers of each row's state that differ between rows, `[rows, count]`; the others tell nothing.

    A number that a mechanism keeps twice counts twice.
    """
    leaves = [np.asarray(x, np.float32) for x in jax.tree.leaves(caches) if x.ndim]
    flat = np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)
    return flat[:, (flat != flat[:1]).any(axis=0)]


def matrices(config: ModelConfig) -> list[tuple[str, ...]]:
    """The names of the matrices in each layer's cache, as its mechanism declares them."""
    return [mechanism.matrices for mechanism in config.mechanisms()]


def quantised(caches: list[Cache], bits: int) -> list[Cache]:
    """Rounds each number to one of 2^bits values, evenly spaced over its head's range in all rows."""

    def round_off(x):
        if not x.ndim:
            return x
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        low, high = x.min(axis=axes, keepdims=True), x.max(axis=axes, keepdims=True)
        step = jnp.maximum(high - low, 1e-30) / (2**bits - 1)
        return low + jnp.round((x - low) / step) * step

    return jax.tree.map(round_off, caches)


def truncated(caches: list[Cache], fields: Sequence[Sequence[str]], rank: int) -> list[Cache]:
    """Replaces each matrix of the states by the nearest matrix of a lower rank, in the spectral norm.

    Args:
        caches: the layers' caches.
        fields: the names of the matrices in each layer's cache.
        rank: the largest rank after truncation.
    """

    def nearest(matrix):
        u, s, v = np.linalg.svd(np.asarray(matrix), full_matrices=False)
        return jnp.asarray((u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :])

    return [
        cache._replace(**{name: nearest(getattr(cache, name)) for name in names}) if names else cache
        for cache, names in zip(caches, fields, strict=True)
    ]


def truncated_numbers(caches: list[Cache], fields: Sequence[Sequence[str]], rank: int) -> int:
    """How many numbers determine states truncated to rank r: r (m + n) in the factors of an m x n matrix."""
    count = _numbers(caches).shape[1]
    for cache, names in zip(caches, fields, strict=True):
        for name in names:
            matrix = np.asarray(getattr(cache, name))
            varying = (matrix != matrix[:1]).any(axis=0).sum(axis=(-2, -1))  # of each head
            count -= int(np.maximum(varying - rank * sum(matrix.shape[-2:]), 0).sum())
    return count


def codebook(cut: Cut, bits: int) -> list[Cache]:
    """Replaces each row's whole state by the nearest of 2^bits rows' states, which takes `bits` bits in all.

    Distance is Euclidean over all numbers, each scaled to the same standard deviation.
    """
    count = len(cut.tokens)
    numbers = _numbers(cut.caches)
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    words = np.sort(np.random.default_rng(0).choice(count, min(2**bits, count), replace=False))
    squares = (numbers**2).sum(axis=1)
    distance = squares[:, None] + squares[None, words] - 2 * numbers @ numbers[words].T
    return exchanged(cut.caches, words[distance.argmin(axis=1)])


def components(cut: Cut, count: int, bits: int = COMPONENT_BITS) -> list[Cache]:
    """Projects the rows' states onto their `count` largest principal components, each rounded to `bits` bits.

    The components and the mean are the same for all rows, so a state takes count * bits bits.
    """
    leaves, tree = jax.tree.flatten(cut.caches)
    flat = [np.asarray(x, np.float64).reshape(len(x), -1) for x in leaves if x.ndim]
    numbers = np.concatenate(flat, axis=1)
    mean = numbers.mean(axis=0)
    u, s, v = np.linalg.svd(numbers - mean, full_matrices=False)
    scores = u[:, :count] * s[:count]
    low, high = scores.min(axis=0), scores.max(axis=0)
    step = np.maximum(high - low, 1e-30) / (2**bits - 1)
    numbers = mean + (low + np.round((scores - low) / step) * step) @ v[:count]
    parts = iter(np.split(numbers, np.cumsum([x.shape[1] for x in flat])[:-1], axis=1))
    return tree.unflatten(jnp.asarray(next(parts).reshape(x.shape), x.dtype) if x.ndim else x for x in leaves)


def shrink(
    model: Transformer, params, task: Task, cut: Cut, kind: str, settings: Sequence[int]
) -> list[Point]:
    """Measures one way of making the state smaller at several settings.

    Args:
        model, params: the Transformer and its parameters.
        task: the task of the rows.
        cut: the rows.
        kind: 'bits a number', 'rank', 'components' or 'bits in all': the unit of the settings.
        settings: how much to leave of the state.

    Raises:
        PigeonholeError: a point lies above its ceiling.
    """
    count, fields = _numbers(cut.caches).shape[1], matrices(model.config)
    make: dict[str, Callable[[int], tuple[list[Cache], int]]] = {
        'bits a number': lambda n: (quantised(cut.caches, n), n * count),
        'rank': lambda n: (
            truncated(cut.caches, fields, n),
            _FLOAT_BITS * truncated_numbers(cut.caches, fields, n),
        ),
        'components': lambda n: (components(cut, n), n * COMPONENT_BITS),
        'bits in all': lambda n: (codebook(cut, n), n),
    }
    return [measure(model, params, task, cut, kind, n, *make[kind](n)) for n in settings]
