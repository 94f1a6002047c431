"""Longest increasing subsequence; the chain is the length of the longest run that ends at each number.

    61 128 46 113 145 <sep> 1 2 1 2 3 <sep> 3

A run is an increasing subsequence. For numbers x(1) ... x(n) the chain is

    d(i) = 1 + max(0, d(j) for j < i with x(j) < x(i)),

and the answer is the largest d(i). The distribution of numbers is that of the generator published by Feng et
al. (NeurIPS 2023, arXiv 2305.15408): one to three runs, one after the other, planted at random positions
among random numbers.
"""

import dataclasses
import functools
import math
from typing import ClassVar, NamedTuple

import numpy as np
from scipy import special

from effxf_jax.tasks.task import (
    EOS,
    PAD,
    Examples,
    Fault,
    Task,
    Vocabulary,
    refuse_options,
)

MAX_RUNS = 3  # runs planted in a sequence [feng]
MIN_PLANTED = 3  # numbers in all planted runs together [feng]
NUMBER_RANGE = 250  # at n = 50, 80 and 100 [feng]
MAX_NUMBER_RANGE = 2**24  # each number is a token

# Token ids; the number x, from 1, is the token SEP + x.
SEP = 2


class Problems(NamedTuple):
    """Sequences of n numbers, `[count, n]`, each from n + 1 to number_range - 1.

    The dtype is int16 or, where number_range is too large for it, int32.
    """

    numbers: np.ndarray


class Solution(NamedTuple):
    """The length of the longest run ending at each number, `[count, n]`, and the largest, `[count]`."""

    runs: np.ndarray
    answer: np.ndarray


def _default_range(n: int) -> int:
    return max(NUMBER_RANGE, 5 * n // 2)


@dataclasses.dataclass(frozen=True)
class LongestIncreasingSubsequence(Task):
    """The longest increasing subsequence of n numbers.

    Attributes:
        n: numbers in a sequence.
        number_range: exclusive upper bound of the numbers. By default 250 [feng] or, from n = 102 on, 5n / 2
            [ours], which allows a run of n different numbers above the n reserved for lengths.
        answer_mode: 'chain' or 'direct'.

    Raises:
        ValueError: naming every option that is out of range.
    """

    title: ClassVar = 'longest increasing subsequence'
    dp_class: ClassVar = 'regular'
    published_sizes: ClassVar = ({'n': 40}, {'n': 110}, {'n': 174}, {'n': 249})  # [inferred]
    stream_options: ClassVar = ('n', 'number_range', 'answer_mode')

    n: int
    number_range: int | None = None
    answer_mode: str = 'chain'

    def __post_init__(self):
        if self.number_range is None:
            object.__setattr__(self, 'number_range', _default_range(self.n))
        problems = []
        if self.n < MIN_PLANTED:
            problems.append(f'n must be at least {MIN_PLANTED}; got {self.n}')
        if not 2 * self.n + 1 < self.number_range <= MAX_NUMBER_RANGE:
            problems.append(
                f'number_range must exceed 2n + 1 = {2 * self.n + 1}, up to {MAX_NUMBER_RANGE:,}; '
                f'got {self.number_range}'
            )
        refuse_options(problems, self.answer_mode)

    def scaled(self, factor: float) -> 'LongestIncreasingSubsequence':
        """Scales n, and number_range too unless it is the default."""
        n, number_range = int(self.n * factor), None
        if self.number_range != _default_range(self.n):
            number_range = int(self.number_range * factor)
        return dataclasses.replace(self, n=n, number_range=number_range)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(['<sep>', *map(str, range(1, self.number_range))])

    @property
    def _dtype(self) -> type[np.integer]:
        return np.int16 if self.number_range <= np.iinfo(np.int16).max else np.int32

    @property
    def max_length(self) -> int:
        return self.n + 1 + (self.n + 1 if self.answer_mode == 'chain' else 0) + 2

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ('<sep>',)

    def locality(self) -> int | None:
        return None

    def sample(self, rng: np.random.Generator, count: int) -> Problems:
        run_lengths = _draw_run_lengths(rng, self.n, count)
        planted = run_lengths.sum(axis=0, keepdims=True)
        # Numbers up to n are reserved for lengths of runs [feng].
        runs = _draw_subsets(rng, run_lengths, self.number_range - self.n - 1)
        places = _draw_subsets(rng, planted, self.n)
        numbers = rng.integers(self.n + 1, self.number_range, (count, self.n), dtype=self._dtype)
        numbers.reshape(-1)[np.flatnonzero(places)] = np.flatnonzero(runs) % runs.shape[-1] + self.n + 1
        return Problems(numbers)

    def solve(self, problems: Problems) -> Solution:
        numbers = np.ascontiguousarray(problems.numbers.T)
        runs = np.ones_like(numbers)
        for i in range(1, self.n):
            smaller = (numbers[:i] < numbers[i]).view(np.int8)
            runs[i] += (smaller * runs[:i]).max(axis=0)
        return Solution(np.ascontiguousarray(runs.T), runs.max(axis=0))

    def encode(self, problems: Problems) -> Examples:
        count = len(problems.numbers)
        solution = self.solve(problems)
        tokens = np.full((count, self.max_length), SEP, np.int32)
        tokens[:, : self.n] += problems.numbers
        if self.answer_mode == 'chain':
            tokens[:, self.n + 1 : -3] += solution.runs
        tokens[:, -2] += solution.answer
        tokens[:, -1] = EOS
        given = np.arange(self.max_length) <= self.n
        return Examples(tokens, np.repeat(given[None], count, axis=0))

    def complete(self, tokens: np.ndarray) -> np.ndarray:
        prompt = np.pad(tokens, ((0, 0), (0, self.n + 1)))[:, : self.n + 1]
        well_formed = (prompt[:, :-1] > SEP).all(axis=1) & (prompt[:, -1] == SEP)
        numbers = np.where(well_formed[:, None], prompt[:, :-1] - SEP, 1)
        right = self.encode(Problems(numbers.astype(self._dtype))).tokens
        return np.where(well_formed[:, None], right, PAD)

    @property
    def hardest_length(self) -> int:
        """The length of all numbers except the last."""
        return self.n - 1

    def _prefix_bits(self, length: int) -> tuple[float, float]:
        """From the lengths so far and, while numbers are given, the smallest number that ends a run of each.

        The lengths d(1) ... d(k) of k numbers can be any sequence in which each value exceeds the largest
        before it by at most one (let all numbers of one length be equal); Stirling's S(k, m) of these have
        the largest value m. A later number is compared with the smallest numbers that end runs of length
        1 ... m; these increase, and can be any m of the r numbers. Any two of these classes differ in the
        length of some next number. So there are sum_m S(k, m) C(r, m) classes while numbers are still to
        come, and sum_m S(n, m), Bell's number, once all are given.

        In the chain, after i > 1 lengths, at most as many classes remain; and, for any j >= i, at least the
        j^(n - j) in which the first j lengths are 1 ... j and the others at most j.
        """
        n, numbers = self.n, self.number_range - 1
        if length < n:
            return _log2_sum(length, numbers)
        if length <= n + 1:
            return _log2_sum(n, None)
        known = np.arange(min(length - n - 1, n), n + 1.0)  # lengths written by now, or later
        lower, upper = _log2_sum(n, None)
        if known[0] > 1:  # the first length is always 1
            lower = float(np.max((n - known) * np.log2(known)))
        return lower, upper

    def prompt_fault(self, tokens: np.ndarray) -> Fault | None:
        if SEP not in tokens:
            return Fault('truncated', len(tokens), 'the text ends within the prompt')
        size = int(np.argmax(tokens == SEP))
        if size != self.n:
            return Fault('malformed prompt', 0, f'sequence of {size} numbers; this task has {self.n}')
        return None

    def step_at(self, tokens: np.ndarray, position: int) -> str:
        index = position - self.n
        return f'length {index}' if self.answer_mode == 'chain' and index <= self.n else 'answer'

    def _sources(self, row):
        """The number, the smaller ones before it and their lengths; the answer, from all lengths."""
        n, answer = self.n, len(row) - 2
        for i in range(n):
            smaller = np.flatnonzero(row[:i] < row[i]).tolist()
            operands = [i, *smaller, *(n + 1 + j for j in smaller)]
            yield n + 1 + i, [(n + 1 + i, operand) for operand in operands]
        yield answer, [(answer, n + 1 + i) for i in range(n)]


_LONGEST_EXACT = 2000


@functools.cache
def _log2_sum(k: int, r: int | None) -> tuple[float, float]:
    """Bounds on log2 of sum_m S(k, m) C(r, m), where C is 1 if r is None; equal up to k = 2000.

    For larger k the sum, which grows with k, is at least the sum for k = 2000, and between its largest term
    and k times that term. S(k, m) counts the sequences of k values with the largest value m in which each
    value exceeds the largest before it by at most one. It is at least m^(k - m), and at most
    C(k - 1, m - 1) m^(k - m): the positions of the first 2, 3 ... m, and m choices for each other value.
    """
    if k <= _LONGEST_EXACT:
        m = np.arange(1.0, k + 1)
        stirling = np.array([0.0])  # log2 of S(1, 1); then S(k, m) = m S(k - 1, m) + S(k - 1, m - 1)
        for size in range(2, k + 1):
            same = np.append(stirling + np.log2(m[: size - 1]), -np.inf)
            stirling = np.logaddexp2(same, np.append(-np.inf, stirling))
        total = float(np.logaddexp2.reduce(stirling if r is None else stirling + _log2_binomial(r, m)))
        return total, total
    m = np.arange(1.0, k + 1)
    least = (k - m) * np.log2(m)
    if r is not None:
        least += _log2_binomial(r, m)
    most = (least + _log2_binomial(k - 1, m - 1)).max() + math.log2(k)
    return max(float(least.max()), _log2_sum(_LONGEST_EXACT, r)[0]), float(most)


def _log2_binomial(n: int, k: np.ndarray) -> np.ndarray:
    return (special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)) / math.log(2)


def _draw_run_lengths(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    """Draws the lengths of the runs planted in each sequence, int64 `[3, count]`; 0 is no run [feng]."""
    below = lambda bound: rng.integers(bound, size=count)
    runs = below(MAX_RUNS) + 1
    total = below(n - MIN_PLANTED + 1) + MIN_PLANTED
    first = np.where(runs == 1, total, below(total // runs + 1) + 1)
    rest = total - first
    second = np.where(runs == 3, below(rest // 2 + 1) + 1, rest)
    return np.stack([first, second, rest - second])


def _draw_subsets(rng: np.random.Generator, sizes: np.ndarray, bound: int) -> np.ndarray:
    """Draws subsets of 0 ... bound - 1; all subsets of one size are equally likely.

    Args:
        rng: the random generator.
        sizes: `[k, count]`, the subsets' sizes, at most `bound`.
        bound: the number of elements to choose from.

    Returns:
        Bool `[count, k, bound]`, whether each number is in the subset.
    """
    # Selection sampling (Knuth, The Art of Computer Programming 3.4.2, algorithm S). A float32 draw times a
    # small bound rounds to less than the bound, so every subset reaches its size.
    missing = sizes.astype(np.float32)
    chosen = np.empty((bound, *sizes.shape), bool)
    for i in range(bound):
        draw = rng.random(sizes.shape, dtype=np.float32)
        np.less(draw * np.float32(bound - i), missing, out=chosen[i])
        missing -= chosen[i]
    return np.ascontiguousarray(chosen.T)
