"""Least widths follow from bits and neurons, and grow with the exponents of the paper."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest

from effxf_jax import tasks
from effxf_jax.model import ModelConfig
from effxf_jax.tasks import arithmetic, edit_distance, edit_distance_local, linear_equations, lis
from effxf_jax.theory import bottleneck
from effxf_jax.theory.enumeration import count_classes

LAYERS, HEADS = 3, 4
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def config_for(task, mechanism, **options):
    return ModelConfig(
        task.vocabulary.size,
        task.max_length,
        dim=64,
        num_heads=HEADS,
        num_layers=LAYERS,
        mechanism=mechanism,
        options=options,
    )


# Every legal prompt of a task.


def arithmetic_prompts(task):
    """All expressions of n operators: numbers and bracketed expressions with operators between them."""
    numbers = [(arithmetic.FIRST_NUMBER + x,) for x in range(task.modulus)]
    operators = range(arithmetic.FIRST_OPERATOR, arithmetic.FIRST_OPERATOR + 4)

    @functools.cache
    def operands(k):
        if k == 0:
            return numbers
        return [(arithmetic.OPEN, *inner, arithmetic.CLOSE) for inner in chains(k)]

    @functools.cache
    def chains(k):
        found = [
            (*first, operator, *rest)
            for own in range(k)
            for first in operands(own)
            for operator in operators
            for rest in operands(k - 1 - own) + (chains(k - 1 - own) if own < k - 1 else [])
        ]
        return list(dict.fromkeys(found))

    rows = [np.array([*expression, arithmetic.EQUALS]) for expression in chains(task.n) + operands(task.n)]
    return [row for row in rows if task.prompt_fault(row) is None]  # none divides by zero


def lis_prompts(task):
    for numbers in itertools.product(range(1, task.number_range), repeat=task.n):
        yield np.array([*(2 + x for x in numbers), 2])


def edit_distance_prompts(task):
    letters = range(edit_distance.FIRST_LETTER, edit_distance.FIRST_LETTER + edit_distance.LETTERS)
    for first in range(1, task.n + 1):
        for second in range(first, task.n + 3):
            for word in itertools.product(letters, repeat=first + second):
                yield np.array([*word[:first], edit_distance.BAR, *word[first:], edit_distance.SEP])


def local_prompts(task):
    letters = range(edit_distance_local.FIRST_LETTER, edit_distance_local.FIRST_NUMBER)
    for word in itertools.product(letters, repeat=task.pattern_length):
        yield np.array([*word, edit_distance_local.SEP])


def equations_prompts(task):
    problems = itertools.product(range(task.modulus), repeat=task.n * (task.n + 1))
    systems = np.array(list(problems), np.int8).reshape(-1, task.n, task.n + 1)
    length = task.n * (3 * task.n + 2)
    rows = task.encode(linear_equations.Problems(systems)).tokens[:, :length]
    return [row for row in rows if task.prompt_fault(row) is None]  # the regular ones


PROMPTS = {
    'arithmetic': arithmetic_prompts,
    'lis': lis_prompts,
    'edit_distance': edit_distance_prompts,
    'edit_distance_local': local_prompts,
    'linear_equations': equations_prompts,
}


@pytest.mark.parametrize(
    'options',
    [
        {'name': 'arithmetic', 'n': 1, 'modulus': 3},
        {'name': 'arithmetic', 'n': 2, 'modulus': 2},
        {'name': 'arithmetic', 'n': 2, 'modulus': 2, 'order': 'leftmost'},
        {'name': 'lis', 'n': 3, 'number_range': 8},
        {'name': 'lis', 'n': 4, 'number_range': 10},
        {'name': 'edit_distance', 'n': 1},
        {'name': 'edit_distance', 'n': 2},
        {'name': 'edit_distance', 'n': 2, 'border': 'textbook'},
        slow({'name': 'edit_distance_local', 'rows': 2, 'pattern_length': 1}),
        slow({'name': 'edit_distance_local', 'rows': 1, 'pattern_length': 2}),
        {'name': 'edit_distance_local', 'rows': 1, 'pattern_length': 1},
        {'name': 'linear_equations', 'n': 1, 'modulus': 3},
        {'name': 'linear_equations', 'n': 2, 'modulus': 3},
    ],
    ids=lambda options: '-'.join(map(str, options.values())),
)
def test_closed_bounds_bracket_the_classes_counted_one_by_one(options, monkeypatch):
    monkeypatch.setattr(edit_distance, 'LETTERS', 3)  # of the 26, enough to be enumerated
    task = tasks.make(**options)
    counts = count_classes(task, PROMPTS[options['name']](task))
    assert len(counts) >= task.hardest_length
    for length, count in enumerate(counts[: task.max_length - 1], start=1):
        bits = task.required_bits(length)
        assert bits.lower <= math.log2(count) + 1e-9
        assert bits.upper >= math.log2(count) - 1e-9
        assert bits.length == length
    hardest = task.required_bits()
    assert hardest.length == task.hardest_length
    assert hardest.lower == max(task.required_bits(t).lower for t in range(1, task.max_length))


def test_classes_of_increasing_subsequences_are_known_exactly():
    task = tasks.make('lis', n=4, number_range=10)
    counts = count_classes(task, lis_prompts(task))
    # Told k numbers: sum of Stirling's S(k, m) times the ways of choosing m of 9 numbers; all told: Bell's.
    assert counts[:5] == [9, 9 + 36, 9 + 3 * 36 + 84, 15, 15]
    assert max(counts) == counts[task.hardest_length - 1]
    for length, count in enumerate(counts[:5], start=1):
        assert task.required_bits(length).lower == pytest.approx(math.log2(count), rel=1e-10)
        assert task.required_bits(length).upper == task.required_bits(length).lower


def test_bounds_of_long_sequences_bracket_the_exact_sum(monkeypatch):
    numbers = 10_000
    total = lis._log2_sum(1000, numbers)[0]
    monkeypatch.setattr(lis, '_LONGEST_EXACT', 500)
    lis._log2_sum.cache_clear()
    lower, upper = lis._log2_sum(1000, numbers)
    assert 0.9 * total < lower < total < upper < 1.2 * total
    lis._log2_sum.cache_clear()
    for n in (502, 10**5):
        task = tasks.make('lis', n=n)
        bits = task.required_bits()
        assert 0 < bits.upper - bits.lower < 0.2 * bits.upper
        assert bits.lower == max(task.required_bits(t).lower for t in range(n - 30, n + 2))
    lis._log2_sum.cache_clear()


def test_in_direct_mode_no_bits_are_claimed():
    bits = tasks.make('arithmetic', n=5, answer_mode='direct').required_bits()
    assert bits.lower == 0
    assert bits.upper > 0


@pytest.mark.parametrize('length', [0, 60])
def test_a_length_that_no_prefix_has_is_refused(length):
    task = tasks.make('lis', n=10)
    with pytest.raises(ValueError, match=f'1 to {task.max_length - 1} tokens; got {length}'):
        task.required_bits(length)


def test_a_prompt_of_another_task_is_refused():
    with pytest.raises(ValueError, match='sequence of 2 numbers'):
        count_classes(tasks.make('lis', n=3, number_range=8), [np.array([3, 4, 2])])


def test_a_width_has_just_the_neurons_that_the_bits_need():
    task = tasks.make('arithmetic', n=10**4)
    for mechanism in ('linear', 'sparse', 'linear+linear+sparse'):
        config = config_for(task, mechanism)
        for bound in bottleneck.width_bounds(task, config, precision=8):
            numbers = sum(
                bottleneck.neurons(m, bound.length - 1, HEADS, bound.width) for m in config.mechanisms()
            )
            if bound.width > 0:
                assert numbers * 8 + math.log2(task.vocabulary.size) == pytest.approx(bound.bits)
            assert bound.bits == task.required_bits(bound.length).lower
    # By hand: 3 layers of 4 states of (D / 4)^2 + D / 4 numbers.
    needed = (10**4 * math.log2(11) - math.log2(20)) / 8
    by_hand = (-3 + math.sqrt(9 + 3 * needed)) / (2 * 3 / 4)
    assert bottleneck.least_width(task, config_for(task, 'linear'), 8).width == pytest.approx(by_hand)


def test_at_a_block_boundary_only_summaries_pass():
    task = tasks.make('arithmetic', n=100)  # a prompt of 202 tokens
    config = config_for(task, 'sparse', block_size=64, summary_size=2)
    best = bottleneck.least_width(task, config, precision=10)
    assert 'boundary' in best.neurons
    assert best.length % 64 == 1
    blocks = best.length // 64
    by_hand = (task.required_bits(best.length).lower - math.log2(20)) / 10 / (LAYERS * 2 * blocks)
    assert best.width == pytest.approx(by_hand)


def test_where_nothing_passes_no_width_is_enough():
    task = tasks.make('arithmetic', n=100)
    bound = bottleneck.least_width(task, config_for(task, 'sliding_window', window=1))
    assert bound.width == math.inf
    direct = tasks.make('arithmetic', n=100, answer_mode='direct')
    assert bottleneck.least_width(direct, config_for(direct, 'linear')).width == 0


def test_a_width_is_rounded_up_to_one_that_a_model_can_have():
    assert [bottleneck.round_up(width, 4) for width in (0.0, 4.0, 4.1, 63.9)] == [4, 4, 8, 64]
    assert bottleneck.round_up(2.5, 3) == 6


def exponent(sizes, widths):
    return np.polyfit(np.log(sizes), np.log(widths), 1)[0]


SIZES = np.unique(np.logspace(3, 6, 13).astype(int)).tolist()


@functools.cache
def bounds(name, mechanism):
    """Lengths, and all bounds, at sizes from 10^3 to 10^6."""
    made = [tasks.make(name, n=n) for n in SIZES]
    return (
        [task.max_length for task in made],
        [bottleneck.width_bounds(task, config_for(task, mechanism)) for task in made],
        [config_for(task, mechanism).mechanisms()[0].block_size for task in made],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'mechanism', 'expected'),
    [
        ('lis', 'standard', 0),
        ('lis', 'sparse', 1 / 2),
        ('lis', 'linear', 1 / 2),
        ('lis', 'sliding_window', 1 / 2),
        ('arithmetic', 'standard', 0),
        ('arithmetic', 'linear', 1 / 4),
        ('arithmetic', 'sliding_window', 0),
        ('edit_distance', 'standard', 0),
        ('edit_distance', 'linear', 1 / 4),
        ('edit_distance', 'sliding_window', 0),
    ],
)
def test_the_best_bound_grows_with_length_as_the_paper_says(name, mechanism, expected):
    lengths, of_sizes, _ = bounds(name, mechanism)
    widths = [of_size[0].width for of_size in of_sizes]
    # The window is of the largest power of two; the paper does not treat it.
    assert exponent(lengths, widths) == pytest.approx(
        expected, abs=0.07 if mechanism == 'sliding_window' else 0.05
    )


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'expected'), [('lis', 1 / 2), ('arithmetic', 0), ('edit_distance', 0)])
def test_with_a_whole_block_in_sight_the_sparse_bound_grows_as_the_paper_says(name, expected):
    lengths, of_sizes, blocks = bounds(name, 'sparse')
    widths = []
    for of_size, block in zip(of_sizes, blocks, strict=True):
        full = [bound for bound in of_size if bound.length % block == 0]
        assert all(bound.neurons == 'the summaries and the current block' for bound in full)
        widths.append(max(full).width)
    assert exponent(lengths, widths) == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['arithmetic', 'edit_distance'])
def test_at_a_block_boundary_the_fixed_pattern_needs_a_width_that_grows_with_the_root_of_length(name):
    # Not the paper's statement: half of a line stands before the boundary, and only summaries carry it on.
    lengths, of_sizes, _ = bounds(name, 'sparse')
    assert all('boundary' in of_size[0].neurons for of_size in of_sizes)
    widths = [of_size[0].width for of_size in of_sizes]
    assert exponent(lengths, widths) == pytest.approx(1 / 2, abs=0.06)


def local_width(m, rows, mechanism, precision, **options):
    task = tasks.make('edit_distance_local', pattern_length=m, rows=rows)
    return bottleneck.least_width(task, config_for(task, mechanism, **options), precision)


def test_a_local_tasks_width_grows_with_the_root_of_its_locality_for_linear_whatever_the_length():
    patterns = [10**k for k in range(3, 7)]
    widths = [local_width(m, 50, 'linear', 16).width for m in patterns]
    assert exponent(patterns, widths) == pytest.approx(1 / 2, abs=0.05)
    assert local_width(1000, 10, 'linear', 16).width == local_width(1000, 10**5, 'linear', 16).width


def test_on_a_local_task_a_window_needs_no_width_but_a_block_of_that_size_as_much_as_the_locality():
    patterns = [10**k for k in range(3, 7)]
    window = [local_width(m, 50, 'sliding_window', 16, window=2 * m + 4).width for m in patterns]
    assert max(window) < 1
    assert exponent(patterns, window) == pytest.approx(0, abs=0.01)
    block = [local_width(m, 50, 'sparse', 16, block_size=2 * m + 4) for m in patterns]
    assert all('boundary' in bound.neurons for bound in block)
    assert exponent(patterns, [bound.width for bound in block]) == pytest.approx(1, abs=0.02)
    # Larger summaries help in proportion, as m / c.
    wide = local_width(1000, 50, 'sparse', 16, block_size=2004, summary_size=10).width
    assert wide == pytest.approx(block[0].width / 10, rel=1e-6)


def test_precision_is_logarithmic_in_the_length():
    assert [bottleneck.default_precision(length) for length in (1, 2, 3, 1024, 1025)] == [1, 1, 2, 10, 11]
    task = tasks.make('lis', n=100)
    config = config_for(task, 'linear')
    assert bottleneck.least_width(task, config) == bottleneck.least_width(task, config, 8)


def test_the_bound_does_not_depend_on_the_configs_width():
    task = tasks.make('lis', n=100)
    config = config_for(task, 'linear')
    wide = dataclasses.replace(config, dim=512)
    assert bottleneck.least_width(task, wide) == bottleneck.least_width(task, config)
