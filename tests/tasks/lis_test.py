"""The longest increasing subsequence against all subsequences, and the distribution against counting."""

import fractions
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.tasks import lis


def longest_run_ending_at(numbers, last):
    """The length of the longest increasing subsequence that ends at a place, among all subsequences."""
    best = 0
    for size in range(last + 1):
        for places in itertools.combinations(range(last), size):
            run = [numbers[place] for place in (*places, last)]
            if all(a < b for a, b in itertools.pairwise(run)):
                best = max(best, len(run))
    return best


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.integers(1, 9), min_size=8, max_size=8))
def test_every_length_is_that_of_the_best_subsequence(numbers):
    task = tasks.make('lis', n=8)
    solution = task.solve(lis.Problems(np.array([numbers], np.int16)))
    assert solution.runs[0].tolist() == [longest_run_ending_at(numbers, i) for i in range(8)]
    assert solution.answer[0] == max(solution.runs[0])


def test_textbook_sequences():
    task = tasks.make('lis', n=8)
    numbers = [[10, 9, 2, 5, 3, 7, 101, 18], [7] * 8, [*range(1, 9)], [*range(8, 0, -1)]]
    np.testing.assert_array_equal(task.solve(lis.Problems(np.array(numbers, np.int16))).answer, [4, 1, 8, 1])


def test_the_published_example_reads_and_is_right():
    task = tasks.make('lis', n=5)
    text = '61 128 46 113 145 <sep> 1 2 1 2 3 <sep> 3'
    tokens = task.parse_text(text)
    assert task.diagnose(tokens) is None
    problems = lis.Problems(np.array([[61, 128, 46, 113, 145]], np.int16))
    assert task.decode_text(task.encode(problems).tokens[0]) == text
    direct = tasks.make('lis', n=5, answer_mode='direct')
    assert direct.diagnose(direct.parse_text('61 128 46 113 145 <sep> 3')) is None
    assert task.diagnose(task.parse_text('61 128 46 113 145 <sep> 1 2 2 2 3 <sep> 3')) == (
        'wrong value at position 8, length 3: 2 where 1 is expected'
    )
    assert task.diagnose(task.parse_text('61 128 46 113 145 <sep> 1 2 1 2 3 3')) == (
        'missing separator at position 11, answer: 3 where <sep> is expected'
    )
    assert task.diagnose(task.parse_text('61 128 46 113 <sep> 1 2 1 2 <sep> 2')) == (
        'malformed prompt at position 0: sequence of 4 numbers; this task has 5'
    )


@pytest.mark.parametrize('n, size, number_range', [(40, 83, 250), (110, 223, 275), (249, 501, 622)])
def test_sizes_are_those_of_the_paper(n, size, number_range):
    task = tasks.make('lis', n=n)
    assert task.problem_size == size
    assert tasks.make('lis', n=n, answer_mode='direct').problem_size == n + 2
    assert task.number_range == number_range
    assert task == tasks.make('lis', n=n, number_range=number_range)
    problems = task.sample(np.random.default_rng(0), 200)
    assert problems.numbers.min() > n
    assert problems.numbers.max() < number_range
    assert task.grade(*task.encode(problems)).chain_correct.all()


def test_every_number_from_n_plus_1_occurs_and_lengths_up_to_n():
    task = tasks.make('lis', n=6, number_range=14)
    problems = task.sample(np.random.default_rng(0), 4000)
    assert set(problems.numbers.flat) == set(range(7, 14))
    assert {2, 3, 4, 5, 6} <= set(task.solve(problems).answer)


@pytest.mark.parametrize('n', [3, 4, 8])
def test_run_lengths_have_the_published_distribution(n):
    # One, two or three runs and their total are even; all but the last run have an even share of the rest.
    share = fractions.Fraction
    expected = {}
    for total in range(3, n + 1):
        weight = share(1, 3 * (n - 2))
        cases = [((total, 0, 0), weight)]
        for first in range(1, total // 2 + 2):
            cases.append(((first, total - first, 0), weight / (total // 2 + 1)))
        for first in range(1, total // 3 + 2):
            rest = total - first
            for second in range(1, rest // 2 + 2):
                chance = weight / (total // 3 + 1) / (rest // 2 + 1)
                cases.append(((first, second, rest - second), chance))
        for lengths, chance in cases:
            expected[lengths] = expected.get(lengths, 0) + chance
    assert sum(expected.values()) == 1

    count = 40_000
    drawn, times = np.unique(
        lis._draw_run_lengths(np.random.default_rng(0), n, count), axis=1, return_counts=True
    )
    assert set(map(tuple, drawn.T.tolist())) == set(expected)
    for lengths, seen in zip(drawn.T.tolist(), times, strict=True):
        chance = float(expected[tuple(lengths)])
        assert abs(seen - count * chance) < 5 * math.sqrt(count * chance)


def test_subsets_of_one_size_are_equally_likely():
    count = 30_000
    for size in range(6):
        sizes = np.array([[size], [5 - size]]).repeat(count, axis=1)
        drawn = lis._draw_subsets(np.random.default_rng(0), sizes, 5)
        assert drawn.shape == (count, 2, 5)
        for slot, chosen in ((0, size), (1, 5 - size)):
            subsets, times = np.unique(drawn[:, slot], axis=0, return_counts=True)
            assert (subsets.sum(axis=1) == chosen).all()
            assert len(subsets) == math.comb(5, size)
            mean = count / len(subsets)
            assert (abs(times - mean) < 5 * math.sqrt(mean)).all()


def test_three_numbers_increase_as_often_as_their_runs_make_them():
    # At n = 3 all three are planted, among m numbers: one run increases for sure; runs of 1 and 2 do if the
    # single number is below (or above) the pair; three single numbers if they happen to. Of three runs the
    # first has 1 or 2 numbers; after 1 the second has 1 or 2; after 2 it has 1.
    m, count = 20, 60_000
    of_two = math.comb(m, 3) / (m * math.comb(m, 2))
    of_three = math.comb(m, 3) / m**3
    expected = 1 / 3 + of_two / 3 + (of_three / 4 + of_two * 3 / 4) / 3
    task = tasks.make('lis', n=3, number_range=m + 4)
    answer = task.solve(task.sample(np.random.default_rng(0), count)).answer
    seen = np.count_nonzero(answer == 3)
    assert abs(seen - count * expected) < 5 * math.sqrt(count * expected * (1 - expected))


def test_every_number_is_equally_likely():
    # Each subset and each free number is even over all values, so their mixture is.
    task = tasks.make('lis', n=8, number_range=18)
    numbers = task.sample(np.random.default_rng(0), 20_000).numbers
    times = np.bincount(numbers.ravel())[9:]
    assert (abs(times - 160_000 / 9) < 5 * math.sqrt(160_000 / 9)).all()


def test_options_out_of_range_are_all_named():
    with pytest.raises(
        ValueError, match=r'n must be at least 3; got 2\nnumber_range must exceed 2n \+ 1 = 5'
    ):
        tasks.make('lis', n=2, number_range=5)
    with pytest.raises(ValueError, match=r'number_range must exceed 2n \+ 1 = 81, up to 16,777,216; got 81'):
        tasks.make('lis', n=40, number_range=81)
    with pytest.raises(ValueError, match='got 2147483648'):
        tasks.make('lis', n=40, number_range=2**31)
    assert tasks.make('lis', n=40, number_range=82).locality() is None


def test_numbers_may_be_larger_than_sixteen_bits():
    task = tasks.make('lis', n=5, number_range=70_000)
    problems = task.sample(np.random.default_rng(0), 200)
    assert problems.numbers.dtype == np.int32
    assert problems.numbers.max() > 2**16
    assert problems.numbers.min() > 5
    examples = task.encode(problems)
    np.testing.assert_array_equal(examples.tokens[:, :5], problems.numbers + 2)
    assert task.grade(examples.tokens, examples.given).chain_correct.all()
    runs = task.solve(lis.Problems(np.array([[69_000, 40_000, 66_000, 65_999, 67_000]], np.int32))).runs
    np.testing.assert_array_equal(runs, [[1, 1, 2, 2, 3]])
