"""Metrics equal their definitions for any split of the examples into batches."""

import jax
import numpy as np
import pytest

from effxf_jax import evaluation, tasks, training
from effxf_jax.data.sources import generated
from effxf_jax.decoding import _decode, greedy_decode
from effxf_jax.evaluation import Generations
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import Examples, Grade

TASK = tasks.make('arithmetic', n=2, modulus=2)


@pytest.fixture(scope='module')
def measured():
    """A model that has learnt a little, and so is right here and wrong there."""
    model = Transformer(ModelConfig(TASK.vocabulary.size, TASK.max_length, 16, 2, 2, dropout=0.0))
    config = training.TrainConfig(steps=150, batch_size=32, learning_rate=1e-2)
    params = training.fit(model.config, config, generated(TASK, 0, 'train'))
    return model, params, TASK.encode(TASK.sample(np.random.default_rng(0), 37))


@pytest.mark.slow
def test_metrics_follow_their_definitions(measured):
    model, params, examples = measured
    result, generations = evaluation.evaluate(model, params, TASK, examples)
    grade = TASK.grade(greedy_decode(model, params, *examples), examples.given)
    assert result.answer_accuracy == grade.answer_correct.mean()
    assert result.chain_accuracy == grade.chain_correct.mean()
    np.testing.assert_array_equal(generations.grade.first_wrong, grade.first_wrong)
    assert 0 < result.teacher_forced_accuracy < result.chain_accuracy < result.answer_accuracy < 1

    logits = np.asarray(jax.jit(model.apply)({'params': params}, examples.tokens), np.float64)
    losses, right = [], []
    for row in range(37):
        places = [t for t in range(TASK.max_length) if examples.tokens[row, t] and not examples.given[row, t]]
        targets = examples.tokens[row, places]
        rows = logits[row, np.array(places) - 1]
        losses += list(np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(places)), targets])
        right.append(np.array_equal(rows.argmax(axis=1), targets))
    assert result.teacher_forced_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.teacher_forced_accuracy == np.mean(right)


@pytest.mark.slow
@pytest.mark.parametrize('batch_size', [8, 36, 500])
def test_batch_size_changes_nothing(measured, batch_size):
    expected, all_rows = evaluation.evaluate(*measured[:2], TASK, measured[2], batch_size=37)
    actual, rows = evaluation.evaluate(*measured[:2], TASK, measured[2], batch_size=batch_size)
    assert actual == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(rows.tokens, all_rows.tokens)


@pytest.mark.slow
def test_an_evaluation_compiles_one_decoder_whatever_the_prompts(measured):
    model, params, (tokens, _) = measured
    shortest = 1 + np.arange(37) // 9  # a different one in each batch
    given = np.arange(tokens.shape[1]) < shortest[:, None]
    _decode.clear_cache()
    evaluation.evaluate(model, params, TASK, Examples(tokens, given), batch_size=9)
    assert _decode._cache_size() == 1


def describe(text, end='<eos>'):
    task = tasks.make('arithmetic', n=2)
    ids = [*task.parse_text(text), *([1] if end else [])]
    tokens = np.zeros((1, task.max_length + 9), np.int32)
    tokens[0, : len(ids)] = ids
    grade = task.grade(tokens, np.arange(tokens.shape[1])[None] < 6)
    return evaluation.describe(task, Generations(tokens, grade), 0).splitlines()


def test_steps_are_marked_right_up_to_the_first_wrong_one():
    assert describe('5 + 7 + 8 = 1 + 8 = 9') == [
        'example 0: right',
        '    5 + 7 + 8 =',
        '  ✓ 1 + 8 =',
        '  ✓ 9 <eos>',
    ]
    assert describe('5 + 7 + 8 = 2 + 8 = 9') == [
        'example 0: wrong step, right answer',
        '    5 + 7 + 8 =',
        '  ✗ 2 + 8 =',
        '  ? 9 <eos>',
    ]
    assert describe('5 + 7 + 8 = 1 + 8 = 10')[-1] == '  ✗ 10 <eos>'


def test_a_row_cut_off_is_marked_where_it_stops():
    assert describe('5 + 7 + 8 = 1 + 8 = 9', end='')[-1] == '  ✗ 9'
    assert describe('5 + 7 + 8 = 1 + 8 =', end='')[-1] == '  ✗ (cut off)'


def test_first_errors_are_counted_by_their_place_along_the_chain():
    # A prompt of two tokens, then a chain of ten, then padding; the second row's chain is of five.
    tokens = np.array([[3] * 12 + [0] * 2] * 4 + [[3] * 7 + [0] * 7] * 2)
    given = np.zeros_like(tokens, bool)
    given[:, :2] = True
    first_wrong = np.array([2, 6, -1, 13, 2, 4])
    grade = Grade(first_wrong < 0, first_wrong < 0, first_wrong)
    counts = evaluation.first_errors(Examples(tokens, given), grade, parts=5)
    # Of the chain of ten, places 2, 6 and behind its end; of the chain of five, places 2 and 4.
    assert counts.tolist() == [2, 0, 2, 0, 1]
