"""Files of any content are read line by line, in bounded memory, and never end in a traceback."""

import contextlib
import json
import os
import random
import tracemalloc

import pytest

from effxf_jax import dependencies
from effxf_jax.gsm8k import records
from effxf_jax.gsm8k.chains import chain_of
from effxf_jax.gsm8k.judging import judge
from effxf_jax.gsm8k.records import BadLine, Record
from effxf_jax.gsm8k.totals import totals_of
from experiments.gsm8k_check import remarks

LINES = int(os.environ.get('EFFXF_EXAMPLES', '80')) * 5
GOOD = records.dump('Ed has 3 cats and 4 dogs. How many pets?', 'He has 3+4=<<3+4=7>>7 pets.\n#### 7')
TWO = records.dump(
    'A box of 20 nuts is 25% full, twice.\u2028Two-thirds of what remains?',
    'It holds 20*.25=<<20*.25=5>>5.\nThen <<5*2=10>>10, <<(10*2)/3=6.67>>6.67\n#### 6.67',
)


def read(tmp_path, content):
    path = tmp_path / 'file.jsonl'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(records.read(path))


def test_records_have_the_numbers_of_their_lines(tmp_path):
    found = read(tmp_path, f'{GOOD}\r\n\n{TWO}')
    assert [(type(one), one.number) for one in found] == [(Record, 1), (BadLine, 2), (Record, 3)]
    assert found[0].question.startswith('Ed has 3')
    assert found[2] == Record(3, *json.loads(TWO).values())
    assert read(tmp_path, '') == []


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        (b'  ', 'a blank line'),
        (b'{"question": "a', 'no JSON: Unterminated string'),
        (b'nonsense', 'no JSON: Expecting value at column 1'),
        (b'\xff\xfe', 'not UTF-8 at byte 0'),
        (b'\xef\xbb\xbf{}', 'no JSON: Unexpected UTF-8 BOM'),
        (b'\0\0', 'no JSON'),
        (b'[1, 2]', 'not an object with question and answer'),
        (b'"question"', 'not an object'),
        (b'[' * 100_000, 'too deep'),
        (b'{"a":' * 100_000, 'too deep'),
        (b'1' * 10_000, 'too many digits'),
        (b'{}', 'the keys must be question and answer; got none'),
        (b'{"question": "a"}', "got 'question'"),
        (b'{"question": "a", "answer": "b", "id": 1}', "got 'question', 'answer', 'id'"),
        (b'{"question": "a", "answer": "b", "answer": "c"}', "got 'question', 'answer', 'answer'"),
        (b'{"question": "a", "answer": 5}', 'answer must be a text'),
        (b'{"question": {"a": 1}, "answer": "b"}', 'question must be a text'),
        (b'{"question": null, "answer": "b"}', 'question must be a text'),
        (b'{"question": " ", "answer": "b"}', 'question is empty'),
        (b'{"question": "a", "answer": "b\\u0000"}', 'answer has a NUL character'),
        (b'{"question": "\\ud800", "answer": "b"}', 'half a surrogate pair'),
        (b'{"question": "' + b'a' * records.MAX_LINE + b'"}', 'too long: over 1,048,576 bytes'),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else '',
)  # fmt: skip
def test_a_bad_line_has_a_reason_and_the_next_is_read(line, reason, tmp_path):
    bad, good = read(tmp_path, line + b'\n' + GOOD.encode())
    assert isinstance(bad, BadLine)
    assert reason in bad.reason
    assert len(bad.reason) < 300
    assert '\n' not in bad.reason
    assert isinstance(good, Record)


def test_a_line_of_exactly_the_limit_is_read(tmp_path):
    padding = ' ' * (records.MAX_LINE - len(GOOD))
    assert [type(one) for one in read(tmp_path, f'{GOOD}{padding}')] == [Record]
    assert [type(one) for one in read(tmp_path, f'{GOOD}{padding}\n{GOOD}{padding} \n')] == [Record, BadLine]


def test_a_file_that_cannot_be_read_is_one_error(tmp_path):
    with pytest.raises(records.FileError, match='missing cannot be read: No such file'):
        list(records.read(tmp_path / 'missing'))
    with pytest.raises(records.FileError, match='cannot be read: Is a directory'):
        list(records.read(tmp_path))
    (tmp_path / 'mine').touch(mode=0o000)
    if not os.access(tmp_path / 'mine', os.R_OK):  # root reads everything
        with pytest.raises(records.FileError, match='Permission denied'):
            list(records.read(tmp_path / 'mine'))


def test_a_huge_line_is_not_held_in_memory(tmp_path):
    path = tmp_path / 'sparse'
    with path.open('wb') as file:
        file.truncate(64 << 20)  # zeros that take no space
        file.seek(0, os.SEEK_END)
        file.write(b'\n' + GOOD.encode())
    tracemalloc.start()
    try:
        bad, good = records.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (bad.number, good.number) == (1, 2)
    assert 'too long' in bad.reason
    assert peak < 8 * records.MAX_LINE


@pytest.mark.parametrize(
    'answer',
    [
        '<<1+1=1>>1 ' * 2000,
        '<<' * 100_000,
        '>>\n' * 20_000,
        '1 ' * 20_000,
        '<<' + '1+' * 20_000 + '1=1>>',
    ],
    ids=['annotations', 'opened', 'closed', 'numbers', 'formula'],
)
def test_a_line_full_of_one_thing_is_judged(answer):
    """Work that grew with the square of a line's length would not end."""
    judgement = judge('one ' * 10_000, answer)
    assert totals_of(judgement).problems == 1
    dependencies.summarize([chain_of(judgement)])


def broken(rng):
    """A line: one of the good ones with some changes of its bytes or of its texts."""
    line = rng.choice([GOOD, TWO])
    for _ in range(rng.randrange(4)):
        with contextlib.suppress(ValueError, AttributeError):
            values = json.loads(line)
            key = rng.choice(list(values))
            values[key] = spoilt(values[key], rng)
            line = json.dumps(values, ensure_ascii=rng.random() < 0.5)
    content = bytearray(line.encode('utf-8', 'surrogatepass'))
    for _ in range(rng.choice([0, 0, 1, 3])):
        place = rng.randrange(len(content) + 1)
        content[place : place + rng.randrange(3)] = rng.choice(
            [b'', b'"', b'\\', b'{', b'\xff', b'\0', b'1e9']
        )
    return bytes(content).replace(b'\n', b' ')


def spoilt(text, rng):
    if not isinstance(text, str) or rng.random() < 0.03:
        return rng.choice([None, 5, [], {'a': text}, '', ' ', '\ud800', 10**400])
    place = rng.randrange(len(text) + 1)
    pieces = [
        '<<', '>>', '=', '####', '\n', '\n#### 5', '#### ', '/0', '//', '(', ')', '%', '$', ',', '.', '-',
        'x', ' and ', ' half ', ' hundred ', '<<1/3=0.33>>', '<<=>>', '9' * 40, '\u0663', '\u2028', '\r',
        '\0',
    ]  # fmt: skip
    return text[:place] + rng.choice(pieces) + text[place + rng.randrange(6) :]


def test_any_line_is_judged_or_has_a_reason(tmp_path):
    rng = random.Random(0)
    found = read(tmp_path, b'\n'.join(broken(rng) for _ in range(LINES)) + b'\n')
    assert [one.number for one in found] == list(range(1, LINES + 1))
    judged = 0
    for one in found:
        if isinstance(one, BadLine):
            assert one.reason
            assert one.reason.isprintable()
            assert len(one.reason) < 500
            continue
        judgement = judge(one.question, one.answer)
        judged += 1
        dependencies.summarize([chain_of(judgement)])
        for _, remark in remarks(judgement):
            assert remark.isprintable()
            assert len(remark) < 500
    assert LINES / 5 < judged < LINES
