"""Text files are read as they were written, and invalid lines are reported with their numbers."""

import fcntl
import tracemalloc

import numpy as np
import pytest

from effxf_jax import tasks
from effxf_jax.data import blocks, record_files, text_files
from effxf_jax.data.blocks import DataError, generate_block
from effxf_jax.data.mixtures import smaller_sizes
from effxf_jax.tasks.task import ANSWER_MODES

TASK = tasks.make('edit_distance', n=4)
RIGHT = 'g y | p h <sep> 3 4 , 4 6 , <sep> 6'
EVERY_TASK = [
    ('arithmetic', {'n': 3}),
    ('edit_distance', {'n': 4}),
    ('edit_distance_local', {'rows': 3, 'pattern_length': 2}),
    ('linear_equations', {'n': 2}),
    ('lis', {'n': 40, 'number_range': 300}),  # tokens that a byte does not hold
]


def bad_lines(tmp_path, content, task=TASK):
    """The faults of a file, and how many of its lines are right."""
    path = tmp_path / 'file.txt'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    stretches = list(text_files.read(path, task))
    return [line for lines in stretches for line in lines.bad], sum(len(x.tokens) for x in stretches)


@pytest.mark.parametrize(
    ('name', 'options'), EVERY_TASK, ids=lambda value: value if isinstance(value, str) else ''
)
@pytest.mark.parametrize('answer_mode', ANSWER_MODES)
def test_what_is_written_comes_back(name, options, answer_mode, tmp_path):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    text_files.write(tmp_path / 'file.txt', task, 3, 'test', 1500)
    expected = np.concatenate([generate_block(task, 3, 'test', number).tokens for number in (0, 1)])[:1500]
    np.testing.assert_array_equal(text_files.load(tmp_path / 'file.txt', task), expected)


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('g y | p h <sep> 3 4 , 4 5 , <sep> 6', 'wrong value at position 10, row 2: 5 where 6 is expected'),
        (
            'g y | p h <sep> 3 4 4 6 , <sep> 6',
            'missing separator at position 8, row 1: 4 where , is expected',
        ),
        ('g y | p h <sep> 3 4 , 4 6 , <sep>', 'truncated at position 13, answer'),
        ('g y | p <sep> 3 4 , 4 6 , <sep> 6', 'malformed prompt at position 0'),
        ('g y | p h <sep> 3 4 , | 6 , <sep> 6', 'malformed expression at position 9, row 2'),
        (RIGHT + ' 6', 'too long at position 14, answer: 6 where the text should end'),
        ('g y | p h <sep> 3 4 , 4 six , <sep> 6', "unknown token 'six' at position 10"),
        ('', 'truncated at position 0'),
        ('<eos>', "unknown token '<eos>' at position 0"),
    ],
)
def test_a_bad_line_has_its_number_its_first_wrong_token_and_the_reason(line, reason, tmp_path):
    content = (RIGHT + '\n') * 1500 + line + '\n' + RIGHT + '\n'
    bad, right = bad_lines(tmp_path, content)
    assert [b.number for b in bad] == [1501]
    assert reason in bad[0].reason
    assert right == 1501


def test_spaces_line_ends_and_a_missing_last_newline_do_not_matter(tmp_path):
    bad, right = bad_lines(tmp_path, f'{RIGHT} \n {RIGHT}\r\n{RIGHT.replace(" ", "   ")}\n{RIGHT}')
    assert (bad, right) == ([], 4)


def test_files_of_the_predecessor_are_right(tmp_path):
    lines = 'g g y v | p h y l l <sep> 3 4 5 6 7 , 4 6 7 8 9 , 5 7 6 8 10 , 6 8 8 9 11 , <sep> 11 \n'
    assert bad_lines(tmp_path, lines) == ([], 1)
    equations = (
        '1 a + 5 b + 7 c = 5 , 8 a + 2 b + 3 c = 10 , 1 a + 0 b + 7 c = 1 <sep> '
        'a + 5 b + 7 c = 5 , 6 b + 2 c = 3 , 6 b + 0 c = 7 <sep> '
        'a + 9 c = 8 , b + 4 c = 6 , 9 c = 4 <sep> a = 4 , b = 3 , c = 9 \n'
    )
    assert bad_lines(tmp_path, equations, tasks.make('linear_equations', n=3)) == ([], 1)


@pytest.mark.parametrize(
    ('name', 'options'), EVERY_TASK, ids=lambda value: value if isinstance(value, str) else ''
)
@pytest.mark.parametrize('answer_mode', ANSWER_MODES)
def test_prompts_alone_are_completed(name, options, answer_mode, tmp_path):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    rows = generate_block(task, 3, 'test', 0).tokens[:100]
    given = task.given(rows)
    prompts = [task.spell(row[told]) for row, told in zip(rows, given, strict=True)]
    (tmp_path / 'prompts.txt').write_text('\n'.join(prompts))
    (lines,) = text_files.read(tmp_path / 'prompts.txt', task)
    if name == 'edit_distance_local' and answer_mode == 'chain':  # a prompt has no stream
        assert len(lines.bad) == 100
        return
    assert lines.completed == len(lines.tokens) == 100
    np.testing.assert_array_equal(np.where(given, lines.tokens, 0), np.where(given, rows, 0))
    assert task.grade(lines.tokens, given).chain_correct.all()
    answers = [(task.decode_text(row).split()[-1]) for row in lines.tokens]
    assert answers == [task.decode_text(row).split()[-1] for row in rows]


@pytest.mark.parametrize(
    ('name', 'options'), EVERY_TASK, ids=lambda value: value if isinstance(value, str) else ''
)
@pytest.mark.parametrize('answer_mode', ANSWER_MODES)
def test_a_mixture_has_lines_of_all_sizes_up_to_the_tasks(name, options, answer_mode, tmp_path):
    task = tasks.make(name, answer_mode=answer_mode, **options)
    sizes = [*smaller_sizes(task), task]
    drawn = [size.encode(size.sample(np.random.default_rng(0), 50)) for size in sizes]
    order = np.random.default_rng(1).permutation(50 * len(sizes))
    texts = [
        size.decode_text(row) for size, examples in zip(sizes, drawn, strict=True) for row in examples.tokens
    ]
    path = tmp_path / 'mixture.txt'
    path.write_text('\n'.join(texts[i] for i in order))
    rows = text_files.load(path, task, mixture=True)
    assert [task.decode_text(row) for row in rows] == [texts[i] for i in order]
    given = np.concatenate(
        [np.pad(x.given, ((0, 0), (0, task.max_length - x.given.shape[1]))) for x in drawn]
    )
    np.testing.assert_array_equal(task.given(rows), given[order])
    if name != 'edit_distance':  # whose strings may be shorter than n
        with pytest.raises(DataError, match=f'{50 * (len(sizes) - 1):,} bad lines'):
            text_files.load(path, task)


def test_a_bad_line_of_a_mixture_is_judged_at_its_own_size(tmp_path):
    path = tmp_path / 'mixture.txt'
    path.write_text('1 + 2 + 3 = 3 + 3 = 6\n1 + 2 = 4\n1 + 2 + 3 + 4 = 3 + 3 + 4 = 6 + 4 = 10\n')
    (lines,) = text_files.read(path, tasks.make('arithmetic', n=2), mixture=True)
    assert len(lines.tokens) == 1
    assert [line.number for line in lines.bad] == [2, 3]
    assert lines.bad[0].reason == 'wrong value at position 4, line 1: 4 where 3 is expected'
    assert lines.bad[1].reason.endswith('expression of 3 operators; this task has 2')


def test_a_right_line_that_is_too_long_is_bad(tmp_path):
    bad, right = bad_lines(tmp_path, '( 1 + 2 ) = 3\n1 + 2 = 3\n', tasks.make('arithmetic', n=1))
    assert [line.reason for line in bad] == ['too long: 7 tokens; the task has at most 5']
    assert right == 1


@pytest.mark.parametrize(
    'content',
    [bytes(range(256)) * 40, b'\x00' * 300_000, b'\n' * 50, b'\xff\xfe' * 1000 + b'\n', b'1 ' * 200_000],
    ids=['all bytes', 'zeros', 'newlines', 'no utf-8', 'a long line'],
)
@pytest.mark.parametrize(
    ('name', 'options'), EVERY_TASK, ids=lambda value: value if isinstance(value, str) else ''
)
def test_anything_at_all_is_reported(content, name, options, tmp_path):
    bad, right = bad_lines(tmp_path, content, tasks.make(name, **options))
    lines = content.count(b'\n') + (not content.endswith(b'\n'))
    assert [b.number for b in bad] == list(range(1, lines + 1))
    assert right == 0
    assert all(b.reason and '\n' not in b.reason and len(b.reason) < 1000 for b in bad)


def test_another_tasks_file_is_bad_in_every_line(tmp_path):
    bad, right = bad_lines(tmp_path, '61 128 46 <sep> 1 2 1 <sep> 2\n5 + 6 = 0\n')
    assert [b.number for b in bad] == [1, 2]
    assert right == 0


def peak_bytes(path):
    tracemalloc.start()
    for _ in text_files.read(path, TASK):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_grows_neither_with_lines_nor_with_their_length(tmp_path):
    few, many, long = (tmp_path / name for name in ('few', 'many', 'long'))
    few.write_text((RIGHT + '\nx\n') * 1000)
    many.write_text((RIGHT + '\nx\n') * 10_000)
    with long.open('wb') as file:
        file.truncate(200_000_000)  # one line of zeros
    base = peak_bytes(few)
    assert base < 10_000_000
    assert peak_bytes(many) < 1.2 * base
    assert peak_bytes(long) < base


def test_loading_refuses_what_is_not_there_empty_or_bad(tmp_path):
    with pytest.raises(DataError, match='none.txt cannot be read: No such file'):
        text_files.load(tmp_path / 'none.txt', TASK)
    with pytest.raises(DataError, match='cannot be read: Is a directory'):
        text_files.load(tmp_path, TASK)
    path = tmp_path / 'file.txt'
    path.write_text('')
    with pytest.raises(DataError, match='file.txt is empty'):
        text_files.load(path, TASK)
    path.write_text('?\n' + f'{RIGHT}\n?\n' * 2000)
    with pytest.raises(
        DataError, match=r"2,001 bad lines; line 1: unknown token '\?'.*; line 3: .*; line 9: .*; [.]"
    ):
        text_files.load(path, TASK)


@pytest.mark.parametrize(
    'files, task',
    [(text_files, TASK), (record_files, tasks.make('word_problems', num_steps=2))],
    ids=['text', 'gsm8k'],
)
def test_a_file_is_written_whole_or_not_at_all(files, task, tmp_path, monkeypatch):
    path = tmp_path / 'file'
    path.write_text('what was there\n')

    def fails_at_block_1(task, seed, split, number):
        if number == 1:
            raise KeyboardInterrupt
        return generate_block(task, seed, split, number)

    monkeypatch.setattr(blocks, 'generate_block', fails_at_block_1)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, task, 0, 'train', 2000)
    assert path.read_text() == 'what was there\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_export_has_left_is_replaced_and_two_at_once_are_refused(tmp_path):
    path, left = tmp_path / 'file.txt', tmp_path / '.file.txt.tmp'
    left.write_text('half a li')
    with left.open('a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match='another process is writing'):
            text_files.write(path, TASK, 0, 'train', 20)
    text_files.write(path, TASK, 0, 'train', 20)
    assert len(text_files.load(path, TASK)) == 20
    assert list(tmp_path.iterdir()) == [path]
