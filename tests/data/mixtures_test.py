"""A mixture has every size in proportion, no test problem and no repetition, in its largest size's form."""

import numpy as np
import pytest

from effxf_jax import tasks
from effxf_jax.data import sources
from effxf_jax.data.blocks import BLOCK_SIZE, TEST_ONE_IN, generate_block
from effxf_jax.data.mixtures import generate_mixed_block, smaller_sizes
from effxf_jax.data.sources import DataConfig, open_sources
from effxf_jax.tasks import EOS
from effxf_jax.tasks.task import prompt_hash

ARITHMETIC = tasks.make('arithmetic', n=4)
OPERATORS = [ARITHMETIC.vocabulary.ids()[symbol] for symbol in '+-*/']


def operators(examples):
    """Operators in each prompt of arithmetic: its size."""
    return (np.isin(examples.tokens, OPERATORS) & examples.given).sum(axis=1)


def test_size_i_occurs_in_proportion_to_i():
    examples = [generate_mixed_block(ARITHMETIC, 0, block) for block in range(8)]
    counts = sum(np.bincount(operators(e), minlength=5) for e in examples)
    # Sizes 2 to 4: of size 1 there are so few problems that many are repetitions, which size 4 replaces.
    shares = counts / (8 * BLOCK_SIZE)
    assert shares[1] < 0.1
    # A sixteenth of what is drawn belongs to the test split and is replaced as well.
    np.testing.assert_allclose(shares[2:4], np.array([0.2, 0.3]) * (1 - 1 / TEST_ONE_IN), atol=0.02)
    assert shares[4] > 0.4
    assert shares[0] == 0


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('arithmetic', {'n': 4}),
        ('edit_distance', {'n': 5}),
        ('edit_distance_local', {'rows': 4, 'pattern_length': 2}),
        ('linear_equations', {'n': 3}),
        ('lis', {'n': 8, 'number_range': 40}),
    ],
)
def test_every_row_is_a_right_chain_of_some_size_that_trains_and_not_tests(name, options):
    task = tasks.make(name, **options)
    examples = generate_mixed_block(task, 0, 0)
    assert np.all(prompt_hash(examples) % np.uint64(TEST_ONE_IN) != 0)
    sizes = [*smaller_sizes(task), task]
    assert len(sizes) > 1
    found = set()
    for tokens, given in zip(examples.tokens[:64], examples.given[:64], strict=True):
        text = task.decode_text(tokens)
        right = [number for number, size in enumerate(sizes) if _is_right(size, text)]
        assert right, text
        found.update(right)
        row = np.append(sizes[right[-1]].parse_text(text), EOS)[None]
        np.testing.assert_array_equal(given[: row.shape[1]], sizes[right[-1]].given(row)[0])
        assert not given[row.shape[1] :].any()
    assert len(found) > 1


def _is_right(task, text):
    try:
        return task.diagnose(task.parse_text(text)) is None
    except ValueError:  # a word that this size does not have
        return False


def test_rows_that_are_not_of_a_smaller_size_are_those_of_the_task_alone():
    mixed, alone = generate_mixed_block(ARITHMETIC, 3, 2), generate_block(ARITHMETIC, 3, 'train', 2)
    largest = operators(mixed) == 4
    assert 0 < largest.sum() < BLOCK_SIZE
    np.testing.assert_array_equal(mixed.tokens[largest], alone.tokens[largest])
    np.testing.assert_array_equal(mixed.given[largest], alone.given[largest])


def test_blocks_are_functions_of_seed_and_number():
    first, again, other_block, other_seed = (
        generate_mixed_block(ARITHMETIC, seed, block).tokens
        for seed, block in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other_block)
    assert not np.array_equal(first, other_seed)


def test_smaller_prompts_do_not_repeat_in_a_block_nor_in_a_finite_set():
    repeated = lambda hashes: len(hashes) - len(np.unique(hashes))
    block = generate_mixed_block(ARITHMETIC, 0, 0)
    small = operators(block) < 4
    assert repeated(prompt_hash(block)[small]) == 0

    count = 3 * BLOCK_SIZE
    endless = sources.mixed(ARITHMETIC, 0).read(np.arange(count))
    finite = sources.mixed(ARITHMETIC, 0, count)
    # The order in which blocks are read changes nothing.
    last = finite.read(np.arange(2 * BLOCK_SIZE, count))
    examples = sources.mixed(ARITHMETIC, 0, count).read(np.arange(count))
    np.testing.assert_array_equal(last.tokens, examples.tokens[2 * BLOCK_SIZE :])
    np.testing.assert_array_equal(finite.read(np.arange(count)).tokens, examples.tokens)
    assert finite.num_examples == count
    for found, is_unique in ((endless, False), (examples, True)):
        small = operators(found) < 4
        assert (repeated(prompt_hash(found)[small]) == 0) == is_unique


def test_a_configuration_chooses_the_mixture_for_training_alone():
    config = DataConfig(train_sizes='mixture')
    train, test = open_sources(config, ARITHMETIC, 0)
    indices = np.arange(64)
    np.testing.assert_array_equal(
        train.read(indices).tokens, generate_mixed_block(ARITHMETIC, 0, 0).tokens[:64]
    )
    single = open_sources(DataConfig(), ARITHMETIC, 0)
    np.testing.assert_array_equal(test.read(indices).tokens, single.test.read(indices).tokens)
    assert (
        open_sources(
            DataConfig(num_train_examples=99, train_sizes='mixture'), ARITHMETIC, 0
        ).train.num_examples
        == 99
    )


def test_a_mixture_is_refused_of_stored_examples_and_of_another_name():
    with pytest.raises(ValueError, match="'mixture' requires one of the sources .*, text, gsm8k; got 'tfds'"):
        DataConfig(source='tfds', train_sizes='mixture')
    with pytest.raises(ValueError, match="train_sizes must be one of single, mixture; got 'all'"):
        DataConfig(train_sizes='all')
