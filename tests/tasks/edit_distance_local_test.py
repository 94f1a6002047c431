"""Local edit distance: its recurrence, its locality, and tokens that are given in mid-sequence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.tasks import EOS
from effxf_jax.tasks.edit_distance_local import Problems
from effxf_jax.tasks.task import produced

EXAMPLE = 'a b <sep> b a 2 b 2 , a a 0 b 2 , b a 2 b 0 , <sep> 0'


def distance(first, second):
    """Textbook edit distance with costs 2, 2 and 3, by plain recursion."""
    if not first or not second:
        return 2 * (len(first) + len(second))
    return min(
        distance(first[:-1], second) + 2,
        distance(first, second[:-1]) + 2,
        distance(first[:-1], second[:-1]) + 3 * (first[-1] != second[-1]),
    )


@settings(max_examples=40, deadline=None)
@given(
    pattern=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    stream=st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_every_entry_is_the_distance_to_the_nearest_part_of_the_stream_that_ends_there(pattern, stream):
    task = tasks.make('edit_distance_local', rows=4, pattern_length=3)
    solution = task.solve(Problems(np.array([pattern], np.int8), np.array([stream], np.int8)))
    for i in range(1, 5):
        for j in range(1, 4):
            nearest = min(distance(stream[start:i], pattern[:j]) for start in range(i + 1))
            assert solution.matrix[0, i - 1, j - 1] == nearest
    assert solution.answer[0] == solution.matrix[0, -1, -1]


def test_a_worked_example_reads_and_is_right():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    tokens = task.parse_text(EXAMPLE)
    assert task.diagnose(tokens) is None
    problems = Problems(np.array([[0, 1]], np.int8), np.array([[1, 0, 1]], np.int8))
    assert task.decode_text(task.encode(problems).tokens[0]) == EXAMPLE
    direct = tasks.make('edit_distance_local', rows=3, pattern_length=2, answer_mode='direct')
    assert direct.decode_text(direct.encode(problems).tokens[0]) == 'a b <sep> b a b <sep> 0'


def test_the_pattern_the_letters_of_the_stream_and_the_last_separator_are_given():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    problems = task.sample(np.random.default_rng(0), 5)
    tokens, given = task.encode(problems)
    assert task.max_length == tokens.shape[1] == 2 + 1 + 3 * 6 + 1 + 2
    assert (np.flatnonzero(given[0]) == [0, 1, 2, 3, 9, 15, 21]).all()
    assert (given == given[0]).all()
    np.testing.assert_array_equal(tokens[:, [3, 9, 15]] - 4, problems.stream)
    assert (tokens[:, 21] == 2).all()


def contexts(task, count, window):
    """All pairs of the last `window` tokens, <pad> before the row's start, and the produced next one."""
    examples = task.encode(task.sample(np.random.default_rng(0), count))
    tokens = np.pad(examples.tokens, ((0, 0), (window, 0)))
    found = []
    for position in range(task.max_length):
        rows = produced(examples)[:, position]
        found.append(tokens[rows, position : position + window + 1])
    return np.unique(np.concatenate(found), axis=0)


@pytest.mark.parametrize('pattern_length', [1, 2, 3, 4])
def test_the_last_tokens_fix_the_next_at_any_length(pattern_length):
    # Letters become a and b alone, so that equal contexts recur; the recurrence asks but for equality.
    window = 2 * pattern_length + 4
    seen = {}
    for rows in 1, 4, 25:
        task = tasks.make('edit_distance_local', rows=rows, pattern_length=pattern_length)
        assert task.locality() == window
        pairs = contexts(_OfTwoLetters(task), 1500, window)
        for *context, following in pairs.tolist():
            assert seen.setdefault(tuple(context), following) == following
    assert len(seen) > 50


@pytest.mark.parametrize('pattern_length', [2, 3, 4])
def test_one_token_less_does_not_fix_the_next(pattern_length):
    task = tasks.make('edit_distance_local', rows=25, pattern_length=pattern_length)
    pairs = contexts(_OfTwoLetters(task), 1500, task.locality() - 1)
    assert len(np.unique(pairs[:, :-1], axis=0)) < len(pairs)


class _OfTwoLetters:
    """A task whose letters are a and b alone."""

    def __init__(self, task):
        self.encode, self.max_length = task.encode, task.max_length
        self.sample = lambda rng, count: Problems(*(x % 2 for x in task.sample(rng, count)))


def test_every_token_but_the_given_is_graded():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    tokens, given = task.encode(task.sample(np.random.default_rng(0), 20))
    for position in np.flatnonzero(~given[0]):
        spoilt = tokens.copy()
        spoilt[:, position] = 3 + (tokens[:, position] == 3)
        grade = task.grade(spoilt, given)
        assert (grade.first_wrong == position).all()
        assert not grade.chain_correct.any()
        assert (grade.answer_correct == (position < task.max_length - 2)).all()


def test_an_eos_in_mid_stream_does_not_end_the_row():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    tokens, given = task.encode(task.sample(np.random.default_rng(0), 20))
    tokens[:, 5] = EOS
    grade = task.grade(tokens, given)
    assert grade.answer_correct.all()
    assert (grade.first_wrong == 5).all()


def test_a_letter_of_the_stream_that_is_none_is_wrong_where_it_stands():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    tokens, given = task.encode(task.sample(np.random.default_rng(0), 20))
    for position in 3, 9, 15, 21:
        spoilt = tokens.copy()
        spoilt[:, position] = 3
        grade = task.grade(spoilt, given)
        assert (grade.first_wrong == position).all()
        assert not grade.answer_correct.any()


def test_diagnoses_tell_rows_and_sizes():
    task = tasks.make('edit_distance_local', rows=3, pattern_length=2)
    for text, diagnosis in {
        EXAMPLE.replace('a 0', 'a 2'): 'wrong value at position 11, row 2: 2 where 0 is expected',
        EXAMPLE.replace('a 0', 'b 0'): 'wrong value at position 10, row 2: b where a is expected',
        EXAMPLE.replace('b 0 ,', 'b 0'): 'missing separator at position 20, row 3: <sep> where , is expected',
        EXAMPLE.replace('a b <sep>', 'a b b <sep>'): (
            'malformed prompt at position 0: pattern of 3 letters; this task has 2'
        ),
        'a b <sep> b a 2 b 2 , <sep> 2': (
            'malformed prompt at position 3: stream of 1 letters; this task has 3'
        ),
        'a b b': 'truncated at position 3: the text ends within the prompt',
        'a 2 <sep>': 'malformed prompt at position 1: 2 where a letter or <sep> is expected',
    }.items():
        assert task.diagnose(task.parse_text(text)) == diagnosis
    direct = tasks.make('edit_distance_local', rows=3, pattern_length=2, answer_mode='direct')
    assert direct.diagnose(direct.parse_text('a b <sep> a b <sep> 0')) == (
        'malformed prompt at position 3: stream of 2 letters; this task has 3'
    )
    assert direct.diagnose(direct.parse_text('a b <sep> a b b <sep> 0')) == (
        'wrong value at position 7, answer: 0 where 2 is expected'
    )


@pytest.mark.parametrize('pattern_length', [1, 2, 60, 62, 63, 80])
def test_numbers_reach_twice_the_pattern_and_none_overflows(pattern_length):
    task = tasks.make('edit_distance_local', rows=2, pattern_length=pattern_length)
    pattern, stream = np.zeros((1, pattern_length), np.int8), np.ones((1, 2), np.int8)
    solution = task.solve(Problems(pattern, stream))
    # Two letters of the stream, unlike the pattern, cost as much as none: 3 is more than 2 for a gap.
    letters = np.arange(1, pattern_length + 1)
    np.testing.assert_array_equal(solution.matrix[0], [2 * letters, 2 * letters])
    assert task.vocabulary.tokens[-1] == str(solution.answer[0]) == str(2 * pattern_length)


def test_streams_range_from_copies_of_the_pattern_to_noise():
    task = tasks.make('edit_distance_local', rows=30, pattern_length=5)
    problems = task.sample(np.random.default_rng(0), 4000)
    answers = task.solve(problems).answer
    assert set(answers) == {0, 2, 3, 4, 5, 6, 7, 8, 9, 10}
    assert set(problems.stream.flat) == set(range(26))
    # Letters are three to ten in an example, and the chance of a copied one is even on 0 ... 1.
    both = np.concatenate(problems, axis=1)
    letters = sum((both == letter).any(axis=1) for letter in range(26))
    assert letters.max() == 10
    letter, before = problems.stream[:, 1:], problems.stream[:, :-1]
    follows = np.zeros(letter.shape, bool)
    for slot in range(5):
        next_slot = (slot + 1) % 5
        follows |= (before == problems.pattern[:, [slot]]) & (letter == problems.pattern[:, [next_slot]])
    assert np.quantile(follows.mean(axis=1), 0.95) > 0.95
    assert np.quantile(follows.mean(axis=1), 0.05) < 0.3


def test_one_edit_in_three_leaves_a_letter_out_and_the_others_bring_a_random_one():
    # Of a pattern of one letter, a letter of the stream is another if it is edited (one in two on average),
    # not by leaving out (two in three), and the random one of u letters, 3 ... 10, is not that one.
    task = tasks.make('edit_distance_local', rows=20, pattern_length=1)
    pattern, stream = task.sample(np.random.default_rng(0), 5000)
    expected = 1 / 2 * 2 / 3 * (1 - sum(1 / u for u in range(3, 11)) / 8)
    shares = (stream != pattern).mean(axis=1)
    assert abs(shares.mean() - expected) < 5 * shares.std() / np.sqrt(5000)


def test_options_out_of_range_are_all_named():
    with pytest.raises(
        ValueError, match='rows must be at least 1; got 0\npattern_length must be from 1 to 4,194,304; got -2'
    ):
        tasks.make('edit_distance_local', rows=0, pattern_length=-2)
