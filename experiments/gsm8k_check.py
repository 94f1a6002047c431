"""What `python -m experiments.dataset check --format=gsm8k` prints about a file of word problems."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from effxf_jax.gsm8k import records
from effxf_jax.gsm8k.annotations import shortened
from effxf_jax.gsm8k.judging import (
    EXACT,
    ROUNDED,
    UNREADABLE,
    WRONG,
    Judged,
    Judgement,
    as_text,
    judge,
)
from effxf_jax.gsm8k.totals import (
    CONVERSION,
    EITHER,
    NOWHERE,
    QUESTION,
    RESULT,
    Totals,
    origin_of,
    totals_of,
)
from experiments.console import table_console

_ORIGIN_LABELS = {
    QUESTION: 'from the question',
    RESULT: 'from an earlier step',
    EITHER: 'from either',
    CONVERSION: 'a common conversion, such as 60',
    NOWHERE: 'from nowhere',
}


def check(path: str) -> int:
    """Judges each problem of a file; prints a line for each remark and a table of totals.

    Returns:
        0 if every line is a well-formed problem whose annotations are right, otherwise 1. Numbers from
        nowhere are remarks only.

    Raises:
        records.FileError: the file cannot be read.
    """
    totals, bad = Totals(), 0
    for read in records.read(path):
        if isinstance(read, records.BadLine):
            bad += 1
            print(f'line {read.number}: {read.reason}')
            continue
        judgement = judge(read.question, read.answer)
        totals += totals_of(judgement)
        for step, remark in remarks(judgement):
            print(f'line {read.number}{f", step {step}" if step else ""}: {remark}')
    if not totals.problems + bad:
        print(f'{path} is empty; expected one problem per line')
        return 1
    table_console().print(_table(path, totals, bad))
    wrong = totals.verdicts[WRONG] + totals.verdicts[UNREADABLE] + totals.misshown
    return 1 if bad or totals.malformed or wrong else 0


def remarks(judgement: Judgement) -> Iterator[tuple[int, str]]:
    """Yields what is to be said about a problem, each with the number of its step; 0 for the whole."""
    found = [(fault.step, fault.reason) for fault in judgement.faults]
    for judged in judgement.annotations:
        found += [(judged.annotation.step, remark) for remark in _remarks(judged)]
    yield from sorted(found, key=lambda remark: remark[0])


def _remarks(judged: Judged) -> Iterator[str]:
    annotation = judged.annotation
    written = shortened(f'{annotation.formula}={annotation.result}')
    if judged.verdict in (WRONG, UNREADABLE):
        yield f'{written} is {judged.verdict}: {judged.detail}'
    if judged.is_shown is False:
        yield f'{written} is followed by {shortened(annotation.shown)}'
    for operand in judged.operands:
        if origin_of(operand) == NOWHERE:
            yield f'{as_text(operand.value)} of {written} is from nowhere'


def _table(path: str, totals: Totals, bad: int) -> Table:
    table = Table(title=escape(str(path)), show_header=False)
    table.add_column()
    table.add_column(justify='right')
    for section in _sections(totals, bad):
        for label, count in section:
            table.add_row(label, count if isinstance(count, str) else f'{count:,}')
        table.add_section()
    return table


def _sections(totals: Totals, bad: int) -> Iterator[list[tuple[str, int | str]]]:
    """Yields the labels and the values of each part of the table."""
    per_problem, operands = totals.per_problem, totals.origins.total()
    yield [
        ('problems', totals.problems),
        ('bad lines', bad),
        ('malformed problems', totals.malformed),
        ('with a number behind ####', totals.answered),
        ('last annotation is the answer', _share(totals.ends_in_answer, totals.problems)),
    ]
    yield [
        ('annotations', totals.annotations),
        ('most in a problem', max(per_problem, default=0)),
        ('problems without any', per_problem[0]),
        ('right exactly', totals.verdicts[EXACT]),
        ('right after rounding', totals.verdicts[ROUNDED]),
        ('wrong', totals.verdicts[WRONG]),
        ('unreadable', totals.verdicts[UNREADABLE]),
        ('followed by another number', totals.misshown),
    ]
    if totals.notations:
        yield [(f'with {name}', count) for name, count in totals.notations.most_common()]
    yield [
        ('operands', operands),
        *((label, _share(totals.origins[origin], operands)) for origin, label in _ORIGIN_LABELS.items()),
        ('with several possible places', _share(totals.ambiguous, operands)),
    ]


def _share(count: int, total: int) -> str:
    return f'{count:,} ({count / total:.1%})' if total else f'{count:,}'
