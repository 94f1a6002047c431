"""Word problems as records of GSM8K's format: a question and an answer in running English."""

import re
from collections.abc import Mapping

import numpy as np

from effxf_jax.tasks.task import Task, row_length
from effxf_jax.tasks.words.grammar import RELATION_LENGTH

_WORD = re.compile(r"<<|>>|####|'s|\d+|[^\W\d_]+|[-+*=.,?:]")


def to_record(task: Task, tokens: np.ndarray) -> dict[str, str]:
    """A right row, int `[length]`, as a record: the keys `question` and `answer`.

    A step is a line of the answer, `Dan: Ann's 5 plus Cat's 7 = <<5+7=12>>12, Dan has 12 books.`, and the
    last line is `#### 12`. In direct mode the answer is the last line alone.
    """
    row = np.asarray(tokens)[: row_length(np.asarray(tokens)[None])[0]]
    is_given = task.given(row[None])[0]
    words = task.vocabulary.tokens
    question = _running([words[token] for token in row[is_given]])
    steps = [words[token] for token in row[~is_given] if words[token] != '####']
    answer = _running(steps[:-1]).replace('. ', '.\n')
    return {'question': question, 'answer': f'{answer}\n#### {steps[-1]}'.strip()}


def from_record(task: Task, record: Mapping[str, str]) -> np.ndarray:
    """The row of a record, int32 `[length]` without `<eos>`; the inverse of `to_record`.

    It need not be right: `Task.diagnose` says what is wrong with it.

    Raises:
        ValueError: the record has other text than words of the task.
    """
    question, answer = (task.parse_text(' '.join(_words(record[key]))) for key in ('question', 'answer'))
    ids = task.vocabulary.ids()
    if task.answer_mode == 'direct':
        if answer[:1].tolist() != [ids['####']]:
            raise ValueError('the answer must begin with ####')
        return np.concatenate([question, answer[1:]])
    if task.told == 'before':
        return np.concatenate([question, answer])
    steps = _sentences(answer, ids['.'])
    row = []
    for sentence in _sentences(question, ids['.']):
        row.append(sentence)
        if len(sentence) == RELATION_LENGTH and len(steps) > 1:
            row.append(steps.pop(0))
    return np.concatenate([*row, *steps])


def _running(words: list[str]) -> str:
    """Words as running text: annotations without spaces, and none before a mark of punctuation."""
    text = re.sub(r'<< (.*?) >> ', lambda match: f'<<{match[1].replace(" ", "")}>>', ' '.join(words))
    return re.sub(r" ([.,?:]|'s)", r'\1', text)


def _words(text: str) -> list[str]:
    rest = _WORD.sub('', text).strip()
    if rest:
        raise ValueError(f'{rest.split()[0][:40]!r} is no word of a word problem')
    return _WORD.findall(text)


def _sentences(tokens: np.ndarray, stop: int) -> list[np.ndarray]:
    """The sentences of a text, each with its full stop, and what follows the last one."""
    return np.split(tokens, np.flatnonzero(tokens == stop) + 1)
