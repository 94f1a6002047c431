"""Problems of files in GSM8K's format: text without loss, exact grades, and what is counted."""

import dataclasses
import itertools
import os
import pickle

import numpy as np
import pytest
from absl import logging
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.data.blocks import generate_block, token_dtype
from effxf_jax.gsm8k import annotations, records
from effxf_jax.gsm8k.judging import UNREADABLE, WRONG, judge
from effxf_jax.tasks import EOS, PAD
from effxf_jax.tasks.school_math import files, grading
from effxf_jax.tasks.school_math.pieces import SEP, UNK, Bytes, Words, pieces
from effxf_jax.tasks.task import ANSWER_MODES, row_end, row_length

every_form = pytest.mark.parametrize(
    ('form', 'answer_mode'), list(itertools.product(['words', 'bytes'], ANSWER_MODES))
)
few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def problem(number):
    a, b = number + 2, 3 * number + 1
    question = f'Al has {a} pens,\nand buys {b} for £2 each. How many  are there now?'
    return question, f'He has {a} + {b} = <<{a}+{b}={a + b}>>{a + b} pens.\n#### {a + b:,}'


def write(path, problems):
    path.write_text(''.join(records.dump(*one) + '\n' for one in problems))
    return str(path)


@pytest.fixture
def train_file(tmp_path):
    return write(tmp_path / 'train.jsonl', [problem(number) for number in range(0, 1200, 30)])


def make(train_file, form='words', answer_mode='chain', **options):
    return tasks.make('gsm8k', train_file=train_file, tokens=form, answer_mode=answer_mode, **options)


def draw(task, count=40, seed=0):
    return task.encode(task.sample(np.random.default_rng(seed), count))


def of_one(tmp_path, answer, *more, form='words', **options):
    """Grades solutions of one question: answer, chain, and the text before the first wrong token or None."""
    path = write(tmp_path / 'one.jsonl', [('How much is it, Al?', text) for text in (answer, *more)])
    task = make(path, form, min_count=1, **options)

    def grade(solution, end=(EOS,)):
        row = np.array([*task.parse_text(f'How much is it, Al?<sep>{solution}'), *end])[None]
        answer_right, chain_right, wrong = (x[0] for x in task.grade(row, np.zeros(row.shape, bool)))
        written = task.decode_text(row[0, :wrong]).partition('<sep>')[2] if wrong >= 0 else None
        return answer_right, chain_right, written

    return grade


# Text and tokens.


@few
@given(st.text())
def test_pieces_of_any_text_are_the_text(text):
    assert ''.join(pieces(text)) == text
    known = Words.of(dict.fromkeys(pieces(text), 1), min_count=1)
    tokens = known.encode(text)
    assert known.decode(tokens) == text
    assert not np.isin(tokens, (PAD, EOS, SEP)).any()
    assert (UNK in tokens) == ('<unk>' in text)
    raw = text.encode('utf-8', 'surrogatepass').decode('utf-8', 'surrogateescape')
    assert Bytes().decode(Bytes().encode(raw)) == raw
    for codec in known, Bytes():
        read = codec.encode(raw)
        decoded = codec.decode(read)
        for offset in range(len(decoded)):
            place = codec.place(read, offset)
            assert codec.decode(read[:place]) != decoded[: offset + 1]
            whole = codec.decode(read[: place + 1]) if codec is known else decoded[: offset + 1]
            assert whole.startswith(decoded[: offset + 1])
        assert codec.place(read, len(decoded)) == len(read)


def test_words_take_a_space_along_and_numbers_are_digits():
    assert pieces("It's 12% (of  <<1.5*2=3>>3)\n#### 3") == [
        'It', "'", 's', ' 1', '2', '%', ' (', 'of', ' ', ' <<', '1', '.', '5', '*', '2', '=', '3', '>>', '3',
        ')', '\n', '####', ' 3',
    ]  # fmt: skip
    assert max(map(len, pieces('a' * 1000))) == 30
    assert pieces('a  <unk>b<unk') == ['a', ' ', ' ', '<unk>', 'b', '<', 'unk']


def test_numbers_are_known_whatever_the_training_file_has():
    known = Words.of({}, min_count=1)
    text = '-1,234.50 = <<67*8/9>> $0%\n####  1'
    assert known.decode(known.encode(text)) == text
    assert known.encode(' foo é').tolist() == [UNK, UNK]


@every_form
def test_text_records_and_tokens_are_forms_of_one_row(train_file, form, answer_mode):
    task = make(train_file, form, answer_mode)
    for row, length in zip(draw(task).tokens, row_length(draw(task).tokens), strict=True):
        text = task.decode_text(row)
        record = task.to_record(row)
        assert text == f'{record["question"]}<sep>{record["answer"]}'
        np.testing.assert_array_equal(task.parse_text(text), row[:length])
        np.testing.assert_array_equal(task.from_record(record), row[:length])
        assert task.parse_text(text).dtype == task.from_record(record).dtype == np.int32
    expected = dict(map(problem, range(0, 1200, 30)))[record['question']]
    assert record['answer'] == (expected if answer_mode == 'chain' else expected.partition('\n')[2])


@every_form
def test_a_row_is_shown_a_line_of_the_solution_at_a_time(train_file, form, answer_mode):
    task = make(train_file, form, answer_mode)
    row = draw(task, 1).tokens[0]
    shown = [task.spell(row[step]) for step in task.steps(row)]
    assert len(shown) == (3 if answer_mode == 'chain' else 2)
    assert shown[0].startswith('Al has ')
    assert '\\nand buys' in shown[0]
    assert shown[0].endswith('now?<sep>')
    assert all(line.isprintable() for line in shown)
    assert shown[-1].startswith('#### ')
    assert shown[-1].endswith('<eos>')
    assert task.steps(row[:4]) == [slice(0, 4)]


# The contract of a task, as in task_test.py.


@every_form
def test_encoded_problems_are_rows_that_are_graded_right(train_file, form, answer_mode):
    task = make(train_file, form, answer_mode)
    tokens, given = draw(task)
    assert tokens.dtype == np.int32
    assert given.dtype == bool
    assert tokens.shape == given.shape == (40, task.max_length)
    ends, columns = row_length(tokens), np.arange(task.max_length)
    np.testing.assert_array_equal(tokens == EOS, columns == ends[:, None])
    np.testing.assert_array_equal(tokens == PAD, columns > ends[:, None])
    np.testing.assert_array_equal(given, columns <= (tokens == SEP).argmax(axis=1)[:, None])
    np.testing.assert_array_equal(task.given(tokens), given)
    np.testing.assert_array_equal(row_end(tokens, given), ends)
    for dtype in np.int32, np.int64, token_dtype(task):
        grade = task.grade(tokens.astype(dtype), given)
        assert grade.answer_correct.all()
        assert grade.chain_correct.all()
        assert (grade.first_wrong == -1).all()
    np.testing.assert_array_equal(task.complete(np.where(given, tokens, 0)), tokens)
    answers = task.solve(task.sample(np.random.default_rng(0), 40)).answer
    assert [task.decode_text(row).rpartition('#### ')[2] for row in tokens] == answers.tolist()


@every_form
def test_a_wrong_answer_a_missing_end_and_a_foreign_token_are_found_where_they_stand(
    train_file, form, answer_mode
):
    task = make(train_file, form, answer_mode)
    tokens, given = draw(task)
    ends, rows = row_length(tokens), np.arange(40)
    wrong = tokens.copy()
    wrong[rows, ends - 1] = task.parse_text('Al<sep>x')[-1]
    unended = np.where(tokens == EOS, PAD, tokens)
    for spoilt, place in (wrong, ends - 1), (unended, ends):
        grade = task.grade(spoilt, given)
        assert not grade.answer_correct.any()
        assert not grade.chain_correct.any()
        np.testing.assert_array_equal(grade.first_wrong, place)
    for stranger in -1, 2**40, task.vocabulary.size:
        for place in given.sum(axis=1), ends:
            spoilt = tokens.astype(np.int64)
            spoilt[rows, place] = stranger
            np.testing.assert_array_equal(task.grade(spoilt, given).first_wrong, place)
        spoilt[rows, 0] = stranger
        assert (task.grade(spoilt, given).first_wrong == 0).all()
    for shape in (0, task.max_length), (0, 0), (2, 0):
        assert not task.grade(np.zeros(shape, int), np.zeros(shape, bool)).chain_correct.any()


@every_form
def test_a_question_of_no_file_is_malformed(train_file, form, answer_mode):
    task = make(train_file, form, answer_mode)
    tokens, given = draw(task)
    for bad in PAD, EOS, SEP, 9:
        spoilt = tokens.copy()
        spoilt[:, 0] = bad
        grade = task.grade(spoilt, given)
        assert not grade.answer_correct.any()
        assert (grade.first_wrong == 0).all()
        assert (task.complete(spoilt) == PAD).all()
    other = task.parse_text('Who are you?<sep>#### 3')
    assert task.diagnose(other) == f'malformed prompt at position 0: the question is not one of {train_file}'
    assert task.diagnose([]) == 'truncated at position 0: the text ends within the prompt'


@every_form
@few
@given(seed=st.integers(0, 2**32 - 1))
def test_anything_is_graded_and_nothing_behind_the_first_wrong_token_matters(
    train_file, form, answer_mode, seed
):
    task = make(train_file, form, answer_mode)
    rng = np.random.default_rng(seed)
    tokens, told = draw(task, 20, seed)
    # Spoilt with the signs of the format, which noise would seldom hit, and with noise.
    signs = task.parse_text('.<sep>\n#### ####<<>>=1,.0 0+/5 5-3<<2*2=5>>\n')
    noise = np.where(
        rng.random(tokens.shape) < 0.7,
        rng.choice(signs, tokens.shape),
        rng.integers(task.vocabulary.size, size=tokens.shape),
    )
    spoilt = rng.random(tokens.shape) < rng.random((20, 1)) ** 3
    tokens = np.where(spoilt & ~(told & (rng.random((20, 1)) < 0.9)), noise, tokens)
    grade = task.grade(tokens, told)
    np.testing.assert_array_equal(grade.chain_correct, grade.first_wrong == -1)
    assert not (grade.chain_correct & ~grade.answer_correct).any()
    assert (grade.first_wrong <= task.max_length).all()
    for row, given_, wrong in zip(tokens, told, grade.first_wrong, strict=True):
        if wrong > 0:
            until = task.grade(row[None, :wrong], given_[None, :wrong])
            assert until.first_wrong[0] == wrong  # nothing is wrong before
            for tail in noise[:4], np.where(noise[:4] % 3, EOS, noise[:4]):
                behind = np.where(np.arange(task.max_length) <= wrong, row, tail)
                assert (task.grade(behind, np.repeat(given_[None], 4, 0)).first_wrong == wrong).all()
        row = row[: row_length(row[None])[0]]
        diagnosis = task.diagnose(row)
        ended = task.grade(np.append(row, EOS)[None], np.zeros((1, len(row) + 1), bool))
        assert (diagnosis is None) == ended.chain_correct[0]
        if diagnosis is not None:
            assert f' at position {ended.first_wrong[0]}' in diagnosis or diagnosis.startswith('truncated')
            assert diagnosis.isprintable()


def test_tasks_are_frozen_values_that_processes_can_exchange(train_file):
    task = make(train_file)
    assert task == make(train_file) == pickle.loads(pickle.dumps(task))
    assert pickle.loads(pickle.dumps(task)).vocabulary == task.vocabulary
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.min_count = 3
    assert len(set(task.vocabulary.tokens)) == task.vocabulary.size
    assert len(set(make(train_file, 'bytes').vocabulary.tokens)) == 256 + 3
    with pytest.raises(ValueError, match='exist at one size'):
        task.scaled(2)
    assert task.scaled(1) is task
    with pytest.raises(NotImplementedError):
        task.dependencies(draw(task, 1).tokens[0])


def test_no_lower_bound_is_claimed_and_the_upper_one_counts_all_prefixes(train_file):
    task = make(train_file)
    for length in range(1, task.max_length):
        bits = task.required_bits(length)
        prefixes = {row[:length].tobytes() for row in draw(task, 200).tokens}
        assert bits.lower == 0
        assert bits.upper >= np.log2(len(prefixes))
    assert task.required_bits().length == task.hardest_length >= 2
    assert task.locality() is None


# Grades.


@pytest.mark.parametrize('form', ['words', 'bytes'])
@pytest.mark.parametrize(
    ('right', 'solution', 'answer_right', 'chain_right', 'until'),
    [
        ('72', 'So <<48/2=24>>24.\nAnd <<1/3=0.33>>0.33.\n#### 72', True, True, None),
        ('72', '#### 72', True, True, None),
        ('72', '#### 72.0', True, True, None),
        ('72', '  #### 072 \n \n', True, True, None),
        ('1,080', '#### 1080', True, True, None),
        ('1080', '#### 1,080.00', True, True, None),
        ('-0.50', '#### -.5', False, False, '#### -'),
        ('-0.50', '#### -0.5', True, True, None),
        ('0', '#### -0', True, True, None),
        ('72', 'So <<48/2=25>>25.\n#### 72', True, False, 'So <<48/2=25>'),
        ('72', 'So <<48/2=24>>24, <<1+1=3>>.\n#### 71', False, False, 'So <<48/2=24>>24, <<1+1=3>'),
        ('72', '<<1+*=3>>\n#### 72', True, False, '<<1+*=3>'),
        ('72', 'So <<1+1=2\n#### 72', True, False, 'So <<1+1=2'),
        ('72', 'So 1>> 2\n#### 72', True, False, 'So 1>'),
        ('72', '<<2>> 2\n#### 72', True, False, '<<2>'),
        ('72', 'So <<1 <<2 2\n#### 72', True, False, 'So <<1 <'),
        ('0', '#### -5', False, False, '#### -'),
        ('72', '#### 73', False, False, '#### 7'),
        ('72', '#### 720', False, False, '#### 72'),
        ('72', '#### 72.05', False, False, '#### 72.0'),
        ('72', '#### 7', False, False, '#### 7'),
        ('72', '#### 7\nx', False, False, '#### 7'),
        ('72', '#### 7 2', False, False, '#### 7'),
        ('72', '#### -72', False, False, '#### '),
        ('72', '#### $72', False, False, '#### '),
        ('-72', '#### 72', False, False, '#### '),
        ('7200', '#### 7,200', True, True, None),
        ('7200', '#### 72', False, False, '#### 72'),
        ('72', '#### 72\nx', False, False, '#### 72\n'),
        ('72', '#### 72 x', False, False, '#### 72 '),
        ('72', '#### 72\n#### 72', False, False, '#### 72\n'),
        ('72', '72', False, False, '72'),
        ('72', '', False, False, ''),
        ('72', '####\n72', False, False, '####'),
    ],
)
def test_answers_are_exact_numbers_and_annotations_must_be_true(
    form, right, solution, answer_right, chain_right, until, tmp_path
):
    grade = of_one(tmp_path, f'So <<1+1=2>>2\n#### {right}', form=form)
    if form == 'words' and until is not None:  # the whole pieces of it
        lengths = itertools.accumulate(map(len, pieces(solution)))
        until = until[: max((length for length in lengths if length <= len(until)), default=0)]
    assert grade(solution) == (answer_right, chain_right, until)


@few
@given(st.lists(st.sampled_from(['<<', '>>', '=', '1', '+1', '\n', ' 2', '<', '>', 'x'])).map(''.join))
def test_mistakes_are_those_that_the_reader_of_the_format_finds(body):
    found = list(grading.mistakes(body))
    parsed = annotations.parse(body)
    wrong = [one for one in judge('', body).annotations if one.verdict in (WRONG, UNREADABLE)]
    faults = [fault for fault in parsed.faults if fault.step]  # the others are that there is no answer
    assert len(found) == len(wrong) + len(faults)
    assert all(0 <= one.end <= len(body) for one in found)
    assert [one.end for one in found] == sorted(one.end for one in found)


def test_direct_answers_are_graded_without_their_annotations(tmp_path):
    grade = of_one(tmp_path, 'So <<1+1=2>>2\n#### 2', answer_mode='direct')
    assert grade('#### 2') == grade('<<1+1=3>>\n#### 2') == (True, True, None)
    assert grade('#### 3') == (False, False, '####')


def test_a_row_without_its_end_is_not_right(tmp_path):
    grade = of_one(tmp_path, '#### 2')
    assert grade('#### 2', end=()) == (False, False, '#### 2')
    assert grade('#### 2', end=(PAD, PAD)) == (False, False, '#### 2')
    assert grade('#### 2', end=(SEP, EOS)) == (False, False, '#### 2')
    assert grade('#### 2', end=(EOS, 9, 9)) == (True, True, None)


def test_a_problems_own_mistakes_are_right_and_counted_and_no_others(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda layout, *values: warnings.append(layout % values))
    own = 'It <<1+1=3>>3\nand <<2 h=2>>2\nand <<5\n#### 2'
    grade = of_one(tmp_path, own)
    assert grade(own) == grade('<<2 h=2>>\n#### 2') == (True, True, None)
    assert grade('<<1+1=4>>\n#### 2') == (True, False, '<<1+1=4')
    assert grade('It >> 3\n#### 2') == (True, False, 'It')
    assert len(warnings) == 1
    assert '3 annotations are wrong or unreadable' in warnings[0]


def test_a_question_that_stands_twice_has_both_answers(tmp_path):
    grade = of_one(tmp_path, '#### 2', '#### 35')
    assert grade('#### 2') == grade('#### 35') == (True, True, None)
    assert grade('#### 37') == (False, False, '#### 3')


# Files.


def test_what_training_has_too_seldom_is_unknown_and_counted(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda layout, *values: warnings.append(layout % values))
    train = write(tmp_path / 'train.jsonl', [('red red blue', '#### 1'), ('red', 'blue green\n#### 12345')])
    test = write(
        tmp_path / 'test.jsonl', [('red pink', 'pink\n#### 67'), ('red', '#### 890'), ('ö', '#### 1')]
    )
    task = make(train, min_count=2, test_file=test)
    assert {'red', ' red'} & set(task.vocabulary.tokens) == {'red'}
    assert task.decode_text(task.from_record({'question': 'red red blue', 'answer': '#### 67'})) == (
        'red<unk><unk><sep>#### 67'
    )
    assert warnings == [
        f'{train}: 4 of 19 tokens, in 2 of 2 examples, are words that the training file does not have 2 '
        'times; they are read as <unk>.',
        f'{test}: 3 of 21 tokens, in 2 of 3 examples, are words that the training file does not have 2 '
        'times; they are read as <unk>.',
    ]
    row = task.from_record({'question': 'red pink', 'answer': 'pink\n#### 67'})
    assert task.diagnose(row) is None  # with unknown words it is graded all the same
    make(train, min_count=2, answer_mode='chain')  # the first file's are the same
    assert len(warnings) == 2
    warnings.clear()
    make(train, 'bytes', test_file=test)
    assert warnings == []


def test_longer_examples_are_left_out_and_counted(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda layout, *values: warnings.append(layout % values))
    train = write(tmp_path / 'train.jsonl', [('a b c', '#### 1'), ('a', '#### 2'), ('a b', '#### 3')])
    task = make(train, min_count=1, max_tokens=6)
    assert warnings == [f'{train}: 1 of 3 examples have over 6 tokens and are left out.']
    assert task.max_length == task.max_tokens == 6
    assert {task.decode_text(row) for row in draw(task).tokens} == {'a<sep>#### 2', 'a b<sep>#### 3'}
    assert task.diagnose(task.parse_text('a b c<sep>#### 1')) is None
    assert make(train, min_count=1).max_length == 7
    monkeypatch.setattr(files, 'LONGEST', 5)
    files._corpus.cache_clear()
    assert make(train, min_count=1).max_length == 5
    files._corpus.cache_clear()


def test_problems_are_drawn_from_the_training_file_alone(train_file, tmp_path):
    test = write(tmp_path / 'test.jsonl', [problem(number) for number in range(1, 300, 30)])
    task = make(train_file, test_file=test, min_count=1)
    texts = {
        split: {task.decode_text(row) for row in generate_block(task, 0, split, 0).tokens}
        for split in ('train', 'test')
    }
    assert not texts['train'] & texts['test']
    assert texts['train'] | texts['test'] == {'<sep>'.join(problem(n)) for n in range(0, 1200, 30)}
    for number in range(1, 300, 30):  # they can be graded all the same
        assert task.diagnose(task.parse_text('<sep>'.join(problem(number)))) is None


def test_a_file_is_parsed_once_and_again_when_it_changes(train_file, monkeypatch):
    opened = []
    read = records.read
    monkeypatch.setattr(records, 'read', lambda path: opened.append(path) or read(path))
    first = make(train_file)
    assert make(train_file, min_count=3, answer_mode='direct') != first
    make(train_file, 'bytes')
    assert opened == [train_file]
    with open(train_file, 'a') as file:
        file.write(records.dump('New?', '#### 1') + '\n')
    assert len(make(train_file)._corpus.rows) == 1 + len(first._corpus.rows)
    assert opened == [train_file] * 2


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'train_file: .*file cannot be read: No such file'),
        ('', 'train_file: .*file is empty; expected one problem per line'),
        ('x\n{}\n' * 9, r'has 18 bad lines; line 1: no JSON.*; line 5: no JSON.*; \.\.\.$'),
        (records.dump('a', 'b'), 'line 1: no lines begin with ####; expected one$'),
        (records.dump('a', '#### x'), "line 1: #### must be followed by a number; got 'x'"),
        (records.dump('a', '#### 1\nx'), 'line 1: text after the line with ####'),
        (records.dump('a', '#### 1\n#### 1'), 'line 1: 2 lines begin with ####'),
        (records.dump('a <sep>', '#### 1'), 'line 1: <sep> in it, which stands between'),
    ],
)
def test_a_broken_file_is_one_message(content, message, tmp_path):
    path = tmp_path / 'file'
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        make(str(path))
    assert len(str(error.value).splitlines()) == 1


def test_everything_wrong_is_named(train_file, tmp_path):
    with pytest.raises(ValueError) as error:
        make(train_file, 'letters', 'guess', min_count=0, max_tokens=0)
    assert len(str(error.value).splitlines()) == 4
    with pytest.raises(
        ValueError, match='max_tokens must be at least .*, the length of the shortest example'
    ):
        make(train_file, max_tokens=5)
    with pytest.raises(ValueError) as error:
        make(str(tmp_path), test_file=str(tmp_path / 'none'))
    assert str(error.value).splitlines() == [
        f'train_file: {tmp_path} cannot be read: Is a directory',
        f'test_file: {tmp_path / "none"} cannot be read: No such file or directory',
    ]
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ValueError, match='pipe cannot be read: it is no file on a disk'):
        make(str(tmp_path / 'pipe'))
    with pytest.raises(ValueError, match='the question has <sep> in it'):
        make(train_file).from_record({'question': '<sep>', 'answer': '#### 1'})
