"""The contract, tested of every task, and the helpers that tasks share."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.data.blocks import token_dtype
from effxf_jax.tasks import EOS, PAD
from effxf_jax.tasks.task import ANSWER_MODES, Examples, produced, prompt_hash, row_end, row_length

CASES = [
    ('arithmetic', {'n': 1}),
    ('arithmetic', {'n': 6}),
    ('arithmetic', {'n': 4, 'modulus': 5, 'order': 'leftmost'}),
    ('edit_distance', {'n': 1}),
    ('edit_distance', {'n': 2}),
    ('edit_distance', {'n': 7}),
    ('edit_distance', {'n': 5, 'border': 'textbook'}),
    ('edit_distance_local', {'rows': 1, 'pattern_length': 1}),
    ('edit_distance_local', {'rows': 6, 'pattern_length': 3}),
    ('linear_equations', {'n': 1}),
    ('linear_equations', {'n': 3}),
    ('linear_equations', {'n': 4, 'modulus': 2}),
    ('lis', {'n': 3}),
    ('lis', {'n': 12, 'number_range': 26}),
    ('word_problems', {'num_steps': 1, 'alive': 1}),
    ('word_problems', {'num_steps': 4, 'alive': 3, 'distractors': 2}),
    ('word_problems', {'num_steps': 7, 'alive': 3, 'distractors': 1, 'lookback': 4, 'told': 'between'}),
]
names = [f'{name}-{"-".join(map(str, options.values()))}' for name, options in CASES]
every_task = pytest.mark.parametrize('name, options', CASES, ids=names)
every_mode = pytest.mark.parametrize('answer_mode', ANSWER_MODES)
several_right_forms = [CASES[1], CASES[-2]]
one_right_form = pytest.mark.parametrize(
    'name, options', [case for case in CASES if case not in several_right_forms]
)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=12, deadline=None)


def draw(task, count, seed=0):
    problems = task.sample(np.random.default_rng(seed), count)
    return problems, task.encode(problems)


@every_task
@every_mode
@few
@given(seed=seeds)
def test_encoded_problems_are_graded_right(name, options, answer_mode, seed):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, examples = draw(task, 40, seed)
    grade = task.grade(*examples)
    assert grade.answer_correct.all()
    assert grade.chain_correct.all()
    assert (grade.first_wrong == -1).all()
    assert grade.answer_correct.dtype == grade.chain_correct.dtype == bool
    assert grade.first_wrong.dtype == np.int32


@every_task
@every_mode
def test_rows_are_a_prompt_then_what_must_be_produced_then_padding(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, (tokens, given) = draw(task, 200)
    assert tokens.dtype == np.int32
    assert given.dtype == bool
    assert tokens.shape == given.shape == (200, task.max_length)
    assert task.problem_size == task.max_length - 1
    assert tokens.max() < task.vocabulary.size
    ends = row_length(tokens)
    columns = np.arange(task.max_length)
    np.testing.assert_array_equal(tokens == EOS, columns == ends[:, None])
    np.testing.assert_array_equal(tokens == PAD, columns > ends[:, None])
    assert given[:, 0].all()
    assert not given[columns >= ends[:, None] - 1].any()  # the last tokens are an answer and <eos>
    np.testing.assert_array_equal(row_end(tokens, given), ends)


@every_task
@every_mode
def test_rows_tell_which_of_their_tokens_are_given_and_where_their_steps_stand(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, (tokens, given) = draw(task, 50)
    np.testing.assert_array_equal(task.given(tokens), given)
    for row in tokens:
        steps = [task.spell(row[step]) for step in task.steps(row)]
        assert ' '.join(steps) == f'{task.decode_text(row)} <eos>'
        assert all(step.split()[-1] in (*task.step_ends, '<eos>') for step in steps)
        assert all(word not in task.step_ends for step in steps for word in step.split()[:-1])


@every_task
def test_a_draw_depends_on_the_generator_alone(name, options):
    task = tasks.make(name, **options)
    _, one = draw(task, 100, seed=1)
    _, same = draw(task, 100, seed=1)
    _, other = draw(task, 100, seed=2)
    np.testing.assert_array_equal(one.tokens, same.tokens)
    assert (one.tokens != other.tokens).any()


@every_task
def test_the_solution_holds_the_answer_that_the_row_ends_in(name, options):
    task = tasks.make(name, **options)
    problems, examples = draw(task, 50)
    texts = [task.decode_text(row).split() for row in examples.tokens]
    answers = np.reshape(task.solve(problems).answer, (50, -1))
    for text, answer in zip(texts, answers, strict=True):
        numbers = [word for word in text[-4 * len(answer) :] if word.isdigit()]
        assert numbers[-len(answer) :] == [str(x) for x in answer]


@every_task
def test_a_direct_row_is_the_prompt_and_the_answer_of_the_chain(name, options):
    chain, direct = (tasks.make(name, answer_mode=mode, **options) for mode in ANSWER_MODES)
    assert direct.locality() is None
    assert direct.max_length <= chain.max_length
    problems, examples = draw(chain, 50)
    in_short = direct.encode(problems)
    size = 4 * chain.n - 1 if name == 'linear_equations' else 1
    for row, told, short, short_told in zip(*examples, *in_short, strict=True):
        words, short_words = chain.decode_text(row).split(), direct.decode_text(short).split()
        assert short_words[-size:] == words[-size:]
        np.testing.assert_array_equal(row[told], short[short_told])
        assert np.count_nonzero(short_told) + size == len(short_words)


@one_right_form
@every_mode
@few
@given(seed=seeds)
def test_a_wrong_token_is_found_where_it_stands(name, options, answer_mode, seed):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    rng = np.random.default_rng(seed)
    examples = task.encode(task.sample(rng, 60))
    must = produced(examples)
    position = (rng.random(must.shape) * must).argmax(axis=1)
    rows = np.arange(60)
    tokens = examples.tokens.copy()
    # Any other token at all, <pad> and <eos> too.
    tokens[rows, position] += rng.integers(1, task.vocabulary.size, 60)
    tokens[rows, position] %= task.vocabulary.size
    grade = task.grade(tokens, examples.given)
    assert not grade.chain_correct.any()
    np.testing.assert_array_equal(grade.first_wrong, position)


@every_task
@every_mode
def test_the_answer_counts_whatever_the_chain(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, (tokens, given) = draw(task, 80)
    ends = row_length(tokens)
    answer_size = 4 * task.n - 1 if name == 'linear_equations' else 1
    columns = np.arange(task.max_length)
    in_chain = ~given & (columns < ends[:, None] - answer_size - 1)  # but for the separator before the answer
    spoilt = np.where(in_chain, tokens[:, :1], tokens)
    grade = task.grade(spoilt, given)
    assert grade.answer_correct.all()
    np.testing.assert_array_equal(grade.chain_correct, ~(in_chain & (spoilt != tokens)).any(axis=1))

    wrong_answer = np.where(columns == ends[:, None] - 1, 2, tokens)
    grade = task.grade(wrong_answer, given)
    assert not grade.answer_correct.any()
    assert not grade.chain_correct.any()
    np.testing.assert_array_equal(grade.first_wrong, ends - 1)

    unended = np.where(columns == ends[:, None], PAD, tokens)
    grade = task.grade(unended, given)
    assert not grade.answer_correct.any()
    np.testing.assert_array_equal(grade.first_wrong, ends)


@every_task
@every_mode
@few
@given(seed=seeds)
def test_anything_is_graded_and_diagnosed_without_an_error(name, options, answer_mode, seed):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    rng = np.random.default_rng(seed)
    tokens, told = task.encode(task.sample(rng, 60))
    noise = rng.integers(task.vocabulary.size, size=tokens.shape)
    replaced = rng.random(tokens.shape) < rng.random((60, 1)) ** 3
    tokens = np.where(replaced, noise, tokens)
    tokens[:10] = noise[:10]
    length = rng.integers(task.max_length + 5)
    tokens = np.pad(tokens, ((0, 0), (0, 5)), constant_values=3)[:, :length]
    grade = task.grade(tokens, np.pad(told, ((0, 0), (0, 5)))[:, :length])
    np.testing.assert_array_equal(grade.chain_correct, grade.first_wrong == -1)
    assert not (grade.chain_correct & ~grade.answer_correct).any()
    assert (grade.first_wrong >= -1).all()
    assert (grade.first_wrong <= length).all()

    for row in tokens[::6]:
        row = row[: row_length(row[None])[0]]
        row = row[row != PAD]
        told = np.zeros((1, len(row) + 1), bool)
        grade = task.grade(np.append(row, EOS)[None], told)
        diagnosis = task.diagnose(row)
        assert (diagnosis is None) == grade.chain_correct[0]
        if diagnosis is not None and grade.first_wrong[0] > 0:
            fault_in_stream = diagnosis.startswith('malformed prompt')
            assert f' at position {grade.first_wrong[0]}, ' in diagnosis or fault_in_stream
        elif diagnosis is not None:
            assert diagnosis.startswith(('malformed prompt at', 'truncated at'))


@every_task
@pytest.mark.parametrize('stranger', [-1, 2**40, 'the first id beyond the vocabulary'])
def test_what_is_no_tokens_id_is_wrong_where_it_stands(name, options, stranger):
    task = tasks.make(name, **options)
    if isinstance(stranger, str):
        stranger = task.vocabulary.size
    _, (tokens, given) = draw(task, 6)
    start, end = given.argmin(axis=1), row_end(tokens, given)
    rows = np.arange(6)
    for place in start, end, np.zeros_like(start), start - 1:
        spoilt = tokens.astype(np.int64)
        spoilt[rows, place] = stranger
        grade = task.grade(spoilt, given)
        assert not grade.chain_correct.any()
        assert not grade.answer_correct.any()
        # Within the prompt, which it makes malformed, a row is wrong from its start.
        assert np.all((grade.first_wrong == place) | (grade.first_wrong == 0) & (place < start))
    after = np.pad(tokens.astype(np.int64), ((0, 0), (0, 2)), constant_values=stranger)
    assert task.grade(after, np.pad(given, ((0, 0), (0, 2)))).chain_correct.all()


@every_task
@every_mode
def test_rows_are_graded_alike_whatever_integers_hold_them(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, (tokens, given) = draw(task, 20)
    for dtype in token_dtype(task), np.int64:
        assert task.grade(tokens.astype(dtype), given).chain_correct.all()


@every_task
def test_no_rows_and_rows_without_tokens_are_graded(name, options):
    task = tasks.make(name, **options)
    for shape in (0, task.max_length), (0, 0), (2, 0):
        grade = task.grade(np.zeros(shape, int), np.zeros(shape, bool))
        assert [x.shape for x in grade] == [(shape[0],)] * 3
        assert not grade.chain_correct.any()


@every_task
@every_mode
def test_a_malformed_prompt_is_wrong_from_its_start(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, (tokens, given) = draw(task, 50)
    for bad in PAD, EOS, 2:
        spoilt = tokens.copy()
        spoilt[:, 0] = bad
        grade = task.grade(spoilt, given)
        assert not grade.answer_correct.any()
        assert not grade.chain_correct.any()
        assert (grade.first_wrong == 0).all()
    grade = task.grade(np.zeros_like(tokens), given)
    assert (grade.first_wrong == 0).all()
    assert not grade.answer_correct.any()


@every_task
@every_mode
def test_a_row_cut_short_goes_wrong_at_its_end_and_padding_changes_nothing(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, (tokens, given) = draw(task, 50)
    cut = row_length(tokens).min()
    shortest = row_length(tokens) == cut
    grade = task.grade(tokens[shortest, :cut], given[shortest, :cut])
    assert (grade.first_wrong == cut).all()
    assert not grade.answer_correct.any()
    wider = task.grade(*(np.pad(x, ((0, 0), (0, 7))) for x in (tokens, given)))
    assert wider.chain_correct.all()
    assert wider.answer_correct.all()


@every_task
@every_mode
def test_text_and_tokens_are_two_forms_of_one_row(name, options, answer_mode):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    _, examples = draw(task, 20)
    for row, length in zip(examples.tokens, row_length(examples.tokens), strict=True):
        ids = task.parse_text(task.decode_text(row) + ' ')
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, row[:length])
        assert task.diagnose(ids) is None
        assert task.diagnose(ids[:-1]).startswith('truncated at position ' + str(length - 1))
        assert task.diagnose([*ids, 2]).startswith('too long at position ' + str(length))
    assert task.diagnose([]) == 'truncated at position 0: the text ends within the prompt'


@every_task
def test_every_task_refuses_an_unknown_answer_mode(name, options):
    with pytest.raises(ValueError, match=r"answer_mode must be one of chain, direct; got 'guess'"):
        tasks.make(name, answer_mode='guess', **options)


@every_task
def test_tasks_are_frozen_values(name, options):
    task = tasks.make(name, **options)
    assert task == tasks.make(name, **options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.answer_mode = 'direct'
    assert len(set(task.vocabulary.tokens)) == task.vocabulary.size
    assert task.vocabulary.tokens[:2] == ('<pad>', '<eos>')
    assert task.vocabulary.ids()[task.vocabulary.tokens[-1]] == task.vocabulary.size - 1


def test_make_names_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown task 'sorting'; expected one of arithmetic, .*lis"):
        tasks.make('sorting')
    with pytest.raises(ValueError, match="unknown task 'edit_distanse'; did you mean edit_distance?"):
        tasks.make('edit_distanse')
    with pytest.raises(ValueError, match="task 'lis' has no option m; its options are n, "):
        tasks.make('lis', n=5, m=3)
    assert tasks.options('edit_distance') == ('n', 'border', 'answer_mode', 'lengths')


def test_short_names_make_the_same_tasks():
    aliases = tasks.aliases()
    assert not set(aliases) & set(tasks.TASKS)
    for alias, name in aliases.items():
        assert tasks.options(alias) == tasks.options(name)
        assert tasks.names_like(alias) == tasks.names_like(name) == [name, *tasks.TASKS[name].aliases]
    assert tasks.make('ed', n=6) == tasks.make('edit_distance', n=6)
    assert tasks.name_of(tasks.make('ed', n=6)) == 'edit_distance'
    assert tasks.names_like('sorting') == []


def test_parse_text_names_the_unknown_word_and_its_place():
    task = tasks.make('arithmetic', n=1)
    with pytest.raises(ValueError, match=r"unknown token '12' at position 2; this task has \+ - "):
        task.parse_text('1 + 12 = 2')
    with pytest.raises(ValueError, match="unknown token '<eos>' at position 1"):
        task.parse_text('1 <eos>')
    with pytest.raises(ValueError, match=r"unknown token 'x' at position 0; .* 49 \.\.\. 249$"):
        tasks.make('lis', n=5).parse_text('x')


def test_a_row_ends_at_an_eos_with_nothing_given_behind_it():
    tokens = np.array([[5, EOS, 5, 7, EOS, EOS], [5, 5, 5, 5, 5, 5], [EOS, 5, 5, 5, 5, 5]])
    given = np.array([[1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
    assert row_length(tokens).tolist() == [1, 6, 0]
    assert row_end(tokens, given).tolist() == [4, 6, 0]


def test_prompt_hash_sees_the_given_tokens_alone():
    _, examples = draw(tasks.make('edit_distance_local', rows=4, pattern_length=2), 500)
    tokens, given = examples
    hashes = prompt_hash(examples)
    assert hashes.dtype == np.uint64
    np.testing.assert_array_equal(hashes, prompt_hash(Examples(np.where(given, tokens, 9), given)))
    padded = Examples(*(np.pad(x, ((0, 0), (0, 8))) for x in examples))
    np.testing.assert_array_equal(hashes, prompt_hash(padded))
    last = given.shape[1] - 1 - given[:, ::-1].argmax(axis=1)
    for place in 0, 3, last:
        changed = tokens.copy()
        changed[np.arange(500), place] += 1
        assert (hashes != prompt_hash(Examples(changed, given))).all()


def test_prompt_hash_tells_prompts_apart_and_spreads_them_evenly():
    _, (tokens, given) = draw(tasks.make('edit_distance', n=8), 16_000)
    hashes = prompt_hash(Examples(tokens, given))
    prompts = np.unique(np.where(given, tokens, 0), axis=0)
    assert len(np.unique(hashes)) == len(prompts) > 15_900
    shares = np.bincount(hashes % np.uint64(16), minlength=16)
    assert abs(shares - 1000).max() < 5 * np.sqrt(1000)


def test_produced_is_what_is_neither_given_nor_padding():
    tokens = np.array([[4, 5, 6, EOS, PAD]])
    given = np.array([[True, False, True, False, False]])
    assert produced(Examples(tokens, given)).tolist() == [[False, True, False, True, False]]


def test_a_diagnosis_names_kind_place_and_step():
    task = tasks.make('edit_distance', n=4)
    right = 'a b | b b <sep> 3 4 , 1 3 , <sep> 3'
    assert task.diagnose(task.parse_text(right)) is None
    for text, diagnosis in {
        'a b | b b <sep> 3 4 , 1 4 , <sep> 3': 'wrong value at position 10, row 2: 4 where 3 is expected',
        'a b | b b <sep> 3 4 1 3 , <sep> 3': 'missing separator at position 8, row 1: 1 where , is expected',
        'a b | b b <sep> 3 a , 1 3 , <sep> 3': (
            'malformed expression at position 7, row 1: a where 4 is expected'
        ),
        'a b | b b <sep> 3 4 , 1': 'truncated at position 10, row 2: the text ends where 3 is expected',
        'a b | b b <sep> 3 4 , 1 3 , <sep> 3 a': (
            'too long at position 14, answer: a where the text should end'
        ),
        'a b | b b <sep> 3 4 , 1 3 , <sep> 4': 'wrong value at position 13, answer: 4 where 3 is expected',
        'a b b b <sep>': 'malformed prompt at position 4: <sep> where a letter or | is expected',
        'a b | b b': 'truncated at position 5: the text ends within the prompt',
    }.items():
        assert task.diagnose(task.parse_text(text)) == diagnosis
    task = tasks.make('arithmetic', n=2)
    for text, diagnosis in {
        '1 + 1 * 1 = 1 + 2 = 3': 'wrong value at position 8, line 1: 2 where 1 is expected',
        '1 + 1 * 1 = 2 * 1 = 2': 'wrong value at position 6, line 1: 2 where 1 is expected',
        '1 + 1 * 1 = 1 * 1 = 1': 'malformed expression at position 7, line 1: * where + is expected',
        '1 + 1 * 1 = 1 + 1 + 2': 'missing separator at position 9, line 1: + where = is expected',
        '1 + 1 + 1 = 3': 'wrong value at position 6, line 1: 3 where 1 or 2 is expected',
        '1 + 1 = 2': 'malformed prompt at position 0: expression of 1 operators; this task has 2',
    }.items():
        assert task.diagnose(task.parse_text(text)) == diagnosis
