"""Judges problems: is each annotation right, does its result stand in the text, where are its numbers from?

The formula's exact value is compared with the result as it is written: EXACT if they are equal, ROUNDED if
the result is the value rounded or cut to the decimals that are written, otherwise WRONG; UNREADABLE if one of
the two is no formula.
"""

import bisect
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from effxf_jax.dependencies import Place
from effxf_jax.gsm8k import annotations, formulas, numbers
from effxf_jax.gsm8k.annotations import Annotation, Fault
from effxf_jax.gsm8k.origins import Known, conversion

EXACT, ROUNDED, WRONG, UNREADABLE = VERDICTS = ('exact', 'rounded', 'wrong', 'unreadable')

_PLAIN = re.compile(rf'[-+{formulas.MINUS}{formulas.CURRENCIES}\s]*[0-9,]*(?:\.(?P<decimals>[0-9]+))?[\s%]*')


class Operand(NamedTuple):
    """A number in an annotation's formula.

    Attributes:
        value: without its sign.
        position: index of its word in the question and the solution together.
        origins: where the text has it before.
        conversion: what it is known as if it has no origin, such as 'minutes in an hour'; or None.
    """

    value: Fraction
    position: int
    origins: tuple[Place, ...]
    conversion: str | None


class Judged(NamedTuple):
    """A judged annotation.

    Attributes:
        annotation: what was judged.
        verdict: one of VERDICTS.
        detail: what it is wrong by, or why it is unreadable; empty otherwise.
        notations: what its formula and its result use besides plain numbers and + - * /.
        operands: from left to right; none if the formula is unreadable.
        place: where its result stands: the number of the annotation, and the index of a word.
        result: the value that is written as its result; None if it is no number.
        shown: the number that the text shows behind `>>`; None if it shows none.
        is_shown: whether that number is the result, or the result rounded; None if one of them is missing.
    """

    annotation: Annotation
    verdict: str
    detail: str
    notations: frozenset[str]
    operands: tuple[Operand, ...]
    place: Place
    result: Fraction | None
    shown: Fraction | None
    is_shown: bool | None


class Judgement(NamedTuple):
    """A judged problem.

    Attributes:
        annotations: in order.
        answer: the number behind ####; None if there is none.
        faults: what is malformed.
        length: words of the question and the solution.
    """

    annotations: tuple[Judged, ...]
    answer: Fraction | None
    faults: tuple[Fault, ...]
    length: int

    @property
    def ends_in_answer(self) -> bool:
        """Whether the result of the last annotation is the answer."""
        return self.answer is not None and self.answer in [one.result for one in self.annotations[-1:]]


def judge(question: str, answer: str) -> Judgement:
    """Judges a problem. Positions count the words of the question, then those of the answer."""
    asked, written = numbers.words(question), numbers.words(answer)
    known = Known()
    for value, position in numbers.stated(asked):
        known.add(value, Place(0, position))
    offsets = [word.offset for word in written]
    position_of = lambda offset: len(asked) + bisect.bisect_left(offsets, offset)
    solution = annotations.parse(answer)
    judged = []
    for number, annotation in enumerate(solution.annotations, 1):
        one = _judge(number, annotation, position_of, known)
        judged.append(one)
        for value in {one.result, one.shown} - {None}:
            known.add(value, one.place)
    return Judgement(tuple(judged), solution.answer, solution.faults, len(asked) + len(written))


def compare(value: Fraction, written: str) -> str:
    """The verdict on a value as it is written: `compare(Fraction(10, 3), '3.33') == ROUNDED`.

    Raises:
        FormulaError: what is written is no formula.
    """
    result = formulas.parse(written).value
    if result == value:
        return EXACT
    plain = _PLAIN.fullmatch(written)
    if not plain:
        return WRONG
    places = len(plain['decimals'] or '') + 2 * written.count('%')
    scaled, shown = value * 10**places, result * 10**places
    return ROUNDED if abs(scaled - shown) <= Fraction(1, 2) or math.trunc(scaled) == shown else WRONG


def _judge(number: int, annotation: Annotation, position_of: Callable[[int], int], known: Known) -> Judged:
    formula, fault = _read(annotation.formula)
    result, fault_of_result = _read(annotation.result)
    shown, is_shown = _shown(annotation.shown, result)
    if formula is None or result is None:
        verdict, detail = UNREADABLE, fault or f'the result: {fault_of_result}'
    else:
        verdict = compare(formula.value, annotation.result)
        detail = _difference(formula.value, result.value) if verdict == WRONG else ''
    notations = {notation for one in (formula, result) if one for notation in one.notations}
    if result and len(result.operands) > 1:
        notations.add('fraction as result' if '/' in annotation.result else 'formula as result')
    return Judged(
        annotation, verdict, detail, frozenset(notations),
        operands=tuple(
            _trace(operand, position_of(annotation.start + operand.offset), known)
            for operand in (formula.operands if formula else ())
        ),
        place=Place(number, position_of(annotation.result_start)),
        result=result and result.value,
        shown=shown,
        is_shown=is_shown,
    )  # fmt: skip


def _read(text: str) -> tuple[formulas.Formula | None, str]:
    """A formula, or None and the reason why it is none."""
    try:
        return formulas.parse(text), ''
    except formulas.FormulaError as error:
        return None, str(error)


def _trace(operand: formulas.Numeral, position: int, known: Known) -> Operand:
    origins = known.origins(operand.value)
    return Operand(operand.value, position, origins, None if origins else conversion(operand.value))


def _shown(text: str | None, result: formulas.Formula | None) -> tuple[Fraction | None, bool | None]:
    """The number that a text shows as a result, and whether it is the result; None where one is missing.

    What follows may show 3/4, or 3 of which a quarter is taken next; 25 may be shown as 25%.
    """
    parts = (text, text.partition('/')[0]) if text else ()
    values = {part: formula.value for part in parts if (formula := _read(part)[0])}
    if result is None or not values:
        return next(iter(values.values()), None), None
    for part, value in values.items():
        if compare(result.value, part) != WRONG or ('%' in part and result.value == 100 * value):
            return value, True
    return next(iter(values.values())), False


def _difference(value: Fraction, result: Fraction) -> str:
    less_or_more = 'less' if result < value else 'more'
    return f'it is {as_text(value)}; the result is {as_text(abs(result - value))} {less_or_more}'


def as_text(value: Fraction) -> str:
    """A value for reading: exact as far as a short decimal can be, otherwise to 10 digits."""
    return f'{float(value):,.10g}'
