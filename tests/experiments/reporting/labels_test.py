"""Names on the page are words, and the same wherever a mechanism is named."""

import pytest

from experiments.reporting import labels


@pytest.mark.parametrize(
    'label, name, kind',
    [
        ('mechanism=standard', 'standard', 'standard'),
        ('mechanism=sparse', 'sparse', 'sparse'),
        ('mechanism=sparse,block_size=8', 'sparse fixed block 8', 'sparse fixed'),
        ('mechanism=sparse,pattern=strided,block_size=8', 'sparse strided block 8', 'sparse strided'),
        ('mechanism=sliding_window,window=8', 'sliding window 8', 'sliding window'),
        ('mechanism=delta,conv_size=4', 'delta convolution 4', 'delta convolution 4'),
        ('steps=0,warmup_steps=0', 'steps=0', 'steps=0'),
        ('mechanism=standard,answer_mode=direct', 'standard direct answer', 'standard direct answer'),
    ],
)
def test_a_mechanism_has_a_name_of_words_with_its_span_and_without(label, name, kind):
    assert labels.mechanism(label) == name
    assert labels.kind(label) == kind


@pytest.mark.parametrize(
    'label, text', [('steps=32000', '32,000'), ('learning_rate=0.008', '0.008'), ('dim=8,steps=5', '8')]
)
def test_whole_numbers_have_separators(label, text):
    assert labels.amount(label) == text


@pytest.mark.parametrize(
    'count, total, text',
    [(4, 6, '4 of 6'), (6, 6, 'all 6'), (2, 2, 'both'), (1, 1, '1 of 1'), (0, 2, '0 of 2')],
)
def test_a_count_of_all_says_so(count, total, text):
    assert labels.of_all(count, total) == text
