"""Edit distance against all alignments, and the distribution against a scalar generator."""

import collections
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.tasks import edit_distance
from effxf_jax.tasks.task import row_length

words = st.text('abc', min_size=1, max_size=4)


def alignments(i, j):
    """All ways from the empty strings to i and j letters, as steps (letters of one, letters of other)."""
    if i == j == 0:
        yield ()
    for step in (1, 0), (0, 1), (1, 1):
        if i >= step[0] and j >= step[1]:
            for before in alignments(i - step[0], j - step[1]):
                yield (*before, step)


def cost(alignment, first, second, border_step):
    """What an alignment costs, letter by letter; along the border a gap costs border_step."""
    total = i = j = 0
    for step in alignment:
        i, j = i + step[0], j + step[1]
        if step == (1, 1):
            total += 3 * (first[i - 1] != second[j - 1])
        else:
            total += 2 if i and j else border_step
    return total


def problems_of(task, pairs):
    """Problems of a task of pairs of words."""
    letters = np.full((2, len(pairs), task.n + 2), -1, np.int8)
    for k, pair in enumerate(pairs):
        for side, word in enumerate(pair):
            letters[side, k, : len(word)] = [ord(letter) - ord('a') for letter in word]
    return edit_distance.Problems(letters[0, :, : task.n], letters[1])


def pairs_of(problems):
    """The words of problems."""
    text = lambda row: ''.join(chr(ord('a') + letter) for letter in row if letter >= 0)
    return [(text(first), text(second)) for first, second in zip(*problems, strict=True)]


def test_strings_of_equal_length_are_the_published_ones_of_equal_length():
    varied, equal = (tasks.make('edit_distance', n=5, lengths=lengths) for lengths in edit_distance.LENGTHS)
    drawn = equal.sample(np.random.default_rng(0), 3000)
    assert {(len(a), len(b)) for a, b in pairs_of(drawn)} == {(5, 5)}
    examples = equal.encode(drawn)
    assert examples.tokens.shape[1] == equal.max_length == 12 + 30 + 1 + 2
    assert equal.grade(*examples).chain_correct.all()
    of_varied = varied.sample(np.random.default_rng(1), 20_000)
    kept = [pair for pair in pairs_of(of_varied) if len(pair[0]) == len(pair[1])]
    same = lambda pairs: np.mean([sum(map(str.__eq__, *pair)) for pair in pairs])
    assert same(pairs_of(drawn)) == pytest.approx(same(kept), abs=0.1)
    (fault,) = [equal.diagnose(equal.parse_text('a b | c d <sep>'))]
    assert fault == 'malformed prompt at position 0: strings of 2 and 2 letters; this task has 5 each'


@pytest.mark.parametrize('border, border_step', [('published', 1), ('textbook', 2)])
@settings(max_examples=40, deadline=None)
@given(pair=st.tuples(words, words))
def test_every_entry_is_the_least_cost_of_an_alignment(border, border_step, pair):
    first, second = sorted(pair, key=len)
    task = tasks.make('edit_distance', n=4, border=border)
    solution = task.solve(problems_of(task, [(first, second)]))
    for i in range(1, len(first) + 1):
        for j in range(1, len(second) + 1):
            least = min(cost(alignment, first, second, border_step) for alignment in alignments(i, j))
            assert solution.matrix[0, i - 1, j - 1] == least
    assert solution.answer[0] == solution.matrix[0, len(first) - 1, len(second) - 1]


def test_textbook_distances():
    task = tasks.make('edit_distance', n=7, border='textbook')
    pairs = [('kitten', 'sitting'), ('a', 'b'), ('abc', 'abc'), ('abc', 'xabcx'), ('abcd', 'efgh')]
    # Two substitutions and an insertion; a substitution; nothing; two insertions; four substitutions.
    np.testing.assert_array_equal(task.solve(problems_of(task, pairs)).answer, [8, 3, 0, 4, 12])


def test_the_published_example_reads_and_is_right():
    text = 'g g y v | p h y l l <sep> 3 4 5 6 7 , 4 6 7 8 9 , 5 7 6 8 10 , 6 8 8 9 11 , <sep> 11'
    for n in 4, 5, 12:
        task = tasks.make('edit_distance', n=n)
        tokens = task.parse_text(text)
        assert task.diagnose(tokens) is None
        problems = problems_of(task, [('ggyv', 'phyll')])
        assert task.decode_text(task.encode(problems).tokens[0]) == text
    direct = tasks.make('edit_distance', n=4, answer_mode='direct')
    assert direct.diagnose(direct.parse_text('g g y v | p h y l l <sep> 11')) is None
    textbook = tasks.make('edit_distance', n=4, border='textbook')
    assert textbook.diagnose(tokens) == 'wrong value at position 12, row 1: 4 where 5 is expected'


@pytest.mark.parametrize('n, size', [(6, 72), (12, 210), (16, 342), (20, 506)])
def test_sizes_are_those_of_the_paper(n, size):
    assert tasks.make('edit_distance', n=n).problem_size == size
    # Direct: two strings and |, <sep>, answer [feng, without <eos>].
    assert tasks.make('edit_distance', n=n, answer_mode='direct').problem_size == 2 * n + 5


@pytest.mark.parametrize('n', [1, 2, 3, 6])
def test_the_longest_row_occurs(n):
    task = tasks.make('edit_distance', n=n)
    problems = task.sample(np.random.default_rng(0), 4000)
    lengths = row_length(task.encode(problems).tokens)
    assert lengths.max() == task.problem_size


@pytest.mark.parametrize('border', ['published', 'textbook'])
@pytest.mark.parametrize('n', [1, 5, 39, 40, 41, 60])
def test_the_largest_number_occurs_and_none_overflows(border, n):
    task = tasks.make('edit_distance', n=n, border=border)
    answer = task.solve(problems_of(task, [('a' * n, 'b' * (n + 2))])).answer[0]
    assert task.vocabulary.tokens[-1] == str(answer)
    alike = task.encode(problems_of(task, [('a' * n, 'a' * n)])).tokens[0]
    assert task.decode_text(alike).endswith('<sep> 0')


@pytest.mark.parametrize('n', [1, 2, 3, 4, 8])
def test_pairs_are_ordered_differ_and_have_the_lengths_promised(n):
    pairs = pairs_of(tasks.make('edit_distance', n=n).sample(np.random.default_rng(0), 3000))
    seen = collections.Counter()
    for first, second in pairs:
        assert first != second
        assert len(first) <= len(second)
        assert n in (len(first), len(second))
        seen[len(second) if len(first) == n else len(first)] += 1
        assert len(set(first + second)) <= 10
    assert set(seen) == set(range(max(1, n - 3), n + 3))
    assert set(''.join(first + second for first, second in pairs)) == set('abcdefghijklmnopqrstuvwxyz')


def test_lengths_are_a_mixture_of_even_and_a_random_walk():
    # With d edits, d even on 1 ... n, a length walks up, down or stays, each with chance 1/3 (down is up at
    # two letters). A pair is refused and drawn again, with the same d, if the length leaves n - 3 ... n + 2,
    # or for equal strings, which are rare enough (about one in a hundred) to leave to the tolerance.
    n, count = 12, 40_000
    walk = np.zeros(2 * n + 2)
    walk[n] = 1
    expected = np.zeros(n + 3)
    lengths = np.arange(len(walk))
    for _ in range(n):
        down, stay, up = (
            walk * np.where(lengths > 2, 1, 0) / 3,
            walk / 3,
            walk / np.where(lengths > 2, 3, 1.5),
        )
        walk = np.roll(down, -1) + stay + np.roll(up, 1)
        drawn = 0.4 * np.where(np.arange(n + 3) < n - 3, 0, 1 / 6) + 0.6 * walk[: n + 3]
        drawn[: n - 3] = 0
        expected += drawn / drawn.sum() / n
    problems = tasks.make('edit_distance', n=n).sample(np.random.default_rng(0), count)
    first, second = (np.count_nonzero(word >= 0, axis=1) for word in problems)
    seen = np.bincount(np.where(first == n, second, first), minlength=n + 3) / count
    np.testing.assert_allclose(seen, expected, atol=0.012)


def scalar_pair(n, rng):
    """One pair, drawn letter by letter as NOTES describes."""
    edits = rng.randint(1, n)
    while True:
        letters = rng.sample('abcdefghijklmnopqrstuvwxyz', rng.randint(3, 10))
        one = [rng.choice(letters) for _ in range(n)]
        if rng.random() < 0.4:
            other = [rng.choice(letters) for _ in range(rng.randint(max(1, n - 3), n + 2))]
        else:
            other = list(one)
            for _ in range(edits):
                kind = rng.choice(['delete', 'substitute', 'insert'])
                if kind == 'delete' and len(other) > 2:
                    other.pop(rng.randrange(len(other)))
                elif kind == 'substitute':
                    other[rng.randrange(len(other))] = rng.choice(letters)
                else:
                    other.insert(rng.randint(0, len(other)), rng.choice(letters))
        if one != other and max(1, n - 3) <= len(other) <= n + 2:
            return tuple(sorted((''.join(one), ''.join(other)), key=len))


@pytest.mark.parametrize('n', [2, 5, 12])
def test_the_distribution_is_that_of_a_scalar_generator(n):
    count = 12_000
    task = tasks.make('edit_distance', n=n)
    rng = random.Random(0)
    scalar = problems_of(task, [scalar_pair(n, rng) for _ in range(count)])
    vectorised = task.sample(np.random.default_rng(0), count)

    def features(problems):
        """The share of examples with each length, distance, number of letters, and place of agreement."""
        first, second = (np.count_nonzero(word >= 0, axis=1) for word in problems)
        both = np.concatenate(problems, axis=1)
        letters = sum((both == letter).any(axis=1) for letter in range(26))
        agree = (problems.first == problems.second[:, :n]) & (problems.first >= 0)
        columns = first, second, letters, task.solve(problems).answer
        shares = [np.bincount(x, minlength=80) for x in columns] + [agree.sum(axis=0)]
        shares.append(np.bincount(np.where(agree.sum(axis=1) > first // 2, first, 0), minlength=n + 1))
        return np.concatenate(shares) / count

    one, other = features(scalar), features(vectorised)
    spread = np.sqrt((one + other) / count) + 2 / count  # of the difference of two shares, at most
    assert (abs(one - other) < 4.5 * spread).all()


def test_a_refused_pair_is_drawn_again_with_the_same_number_of_edits(monkeypatch):
    draw_pairs, rounds = edit_distance._draw_pairs, []

    def recorded(rng, n, edits):
        drawn = draw_pairs(rng, n, edits)
        rounds.append((edits, drawn[2]))
        return drawn

    monkeypatch.setattr(edit_distance, '_draw_pairs', recorded)
    tasks.make('edit_distance', n=12).sample(np.random.default_rng(0), 2000)
    assert set(rounds[0][0]) == set(range(1, 13))
    for (edits, accepted), (edits_again, _) in itertools.pairwise(rounds):
        np.testing.assert_array_equal(edits_again, edits[~accepted])


def test_a_prompt_of_another_size_is_refused_with_the_sizes():
    task = tasks.make('edit_distance', n=3)
    for text, sizes in {
        'a a a a | a a a a b <sep>': 'strings of 4 and 5 letters',
        'a a | a a a a a a <sep>': 'strings of 2 and 6 letters',
        'a a a | a a <sep>': 'strings of 3 and 2 letters',
        '| a <sep>': 'strings of 0 and 1 letters',
    }.items():
        tokens = task.parse_text(text)
        diagnosis = (
            f'malformed prompt at position 0: {sizes}; this task has 1 to 3, then as many or more, up to 5'
        )
        assert task.diagnose(tokens) == diagnosis
        assert task.grade(tokens[None], np.ones((1, len(tokens)), bool)).first_wrong[0] == 0


def test_options_out_of_range_are_all_named():
    with pytest.raises(ValueError, match=r"n must be from 1 to 4,194,304; got 0\nborder must be .*; got 'x'"):
        tasks.make('edit_distance', n=0, border='x')
    assert tasks.make('edit_distance', n=12).locality() is None
