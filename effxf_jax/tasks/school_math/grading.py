"""Is a solution right, and from which character on can it no longer be?

A solution is lines with calculator annotations and, last, a line `#### ANSWER`. Its answer is right if it is
the number of the problem's own solution. Its steps are right if each annotation evaluates to its result,
exactly or rounded. What is wrong or unreadable in the problem's own solution is right if it is repeated.
"""

import decimal
import functools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from effxf_jax.gsm8k import annotations, formulas, judging

_MARK = re.compile(r'<<|>>|\n|\Z')
_FINAL = re.compile(r'^[^\S\n]*####', re.MULTILINE)
_BEGUN_NUMBER = re.compile(r'(-?)(?:([0-9][0-9,]*)(\.?)([0-9]*))?')


class Reference(NamedTuple):
    """What a problem's own solutions say; one question may have several.

    Attributes:
        answers: the right answers.
        own_mistakes: the mistakes in them, as texts; see `mistakes`.
    """

    answers: frozenset[Fraction]
    own_mistakes: frozenset[str]


class Verdict(NamedTuple):
    """A graded solution.

    Attributes:
        answer_right: whether it ends in a right answer.
        wrong_from: offset of the first character with which no right solution goes on, the text's length
            where more is expected; None if it is right.
    """

    answer_right: bool
    wrong_from: int | None


class Mistake(NamedTuple):
    """A wrong or unreadable annotation, or a bracket without its partner.

    Attributes:
        text: the annotation.
        end: offset of the character with which it is a mistake.
    """

    text: str
    end: int


def refer(solution: str) -> Reference:
    """Reads a problem's own solution.

    Raises:
        ValueError: it does not end in one line `#### NUMBER`; the message says how.
    """
    parsed = annotations.parse(solution)
    _, body, final = _parts(solution)
    answers = frozenset([parsed.answer] if parsed.answer is not None else [])
    if not answers or not _grade_answer(final, answers)[0]:
        raise ValueError(next(fault.reason for fault in parsed.faults if '####' in fault.reason))
    return Reference(answers, frozenset(mistake.text for mistake in mistakes(body)))


def grade(solution: str, reference: Reference, with_steps: bool = True) -> Verdict:
    """Grades any text as a solution; without steps, annotations do not matter."""
    has_final, body, final = _parts(solution)
    answer_right, place = _grade_answer(final, reference.answers) if has_final else (False, len(final))
    places = [] if place is None else [len(solution) - len(final) + place]
    if with_steps:
        places += [mistake.end for mistake in mistakes(body) if mistake.text not in reference.own_mistakes]
    return Verdict(answer_right, min(places, default=None))


def mistakes(body: str) -> Iterator[Mistake]:
    """Yields the mistakes in a solution without its last line, as `annotations.parse` finds them."""
    opened = None
    for mark in _MARK.finditer(body):
        if opened is None:
            if mark[0] == '>>':
                yield Mistake('>>', mark.end() - 1)
            opened = mark.start() if mark[0] == '<<' else None
            continue
        if mark[0] != '>>':
            yield Mistake(body[opened : mark.start()], max(mark.start(), mark.end() - 1))
            opened = mark.start() if mark[0] == '<<' else None
            continue
        formula, equals, result = body[opened + 2 : mark.start()].partition('=')
        if not equals or not _is_right(formula, result):
            yield Mistake(body[opened : mark.end()], mark.end() - 1)
        opened = None


@functools.lru_cache(maxsize=1 << 16)
def _is_right(formula: str, result: str) -> bool:
    try:
        return judging.compare(formulas.parse(formula).value, result) != judging.WRONG
    except formulas.FormulaError:
        return False


def _parts(solution: str) -> tuple[bool, str, str]:
    """Whether there is a line that begins with ####, what stands before it, and what follows the signs."""
    found = _FINAL.search(solution)
    if found is None:
        return False, solution, ''
    return True, solution[: found.start()], solution[found.end() :]


def _grade_answer(final: str, answers: frozenset[Fraction]) -> tuple[bool, int | None]:
    """Whether what follows #### is a right answer, and the offset from which it cannot be."""
    line = final.partition('\n')[0]
    start = len(line) - len(line.lstrip())
    number = re.match(r'\S*', line[start:])[0]
    if annotations.parse(f'####{number}').answer in answers:
        rest = final[start + len(number) :].lstrip()
        return (False, len(final) - len(rest)) if rest else (True, None)
    return False, start + max(_departure(number, _as_decimal(answer)) for answer in answers)


def _departure(number: str, right: str) -> int:
    """The index of the first character from which a number cannot equal the right one; its length if none."""
    indices = range(len(number))
    return next((i for i in indices if not _may_become(number[: i + 1], right)), len(number))


def _may_become(begun: str, right: str) -> bool:
    """Whether a number that begins so, perhaps with commas and zeros, may still equal the right one."""
    match = _BEGUN_NUMBER.fullmatch(begun)
    if not match or (bool(match[1]) != right.startswith('-') and right != '0'):
        return False
    whole, _, fraction = right.lstrip('-').partition('.')
    digits = (match[2] or '').replace(',', '').lstrip('0')
    if not match[3]:
        return whole.lstrip('0').startswith(digits)
    return digits == whole.lstrip('0') and fraction.ljust(len(match[4]), '0').startswith(match[4])


def _as_decimal(answer: Fraction) -> str:
    """An answer, which was read from digits, as digits without commas and without zeros at the ends."""
    with decimal.localcontext(prec=2 * formulas.MAX_DIGITS):
        exact = (decimal.Decimal(answer.numerator) / answer.denominator).normalize()
    return format(exact, 'f') if exact else '0'
