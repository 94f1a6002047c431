"""The structure of a solution: steps, one a line, with calculator annotations, and `#### ANSWER` at the end.

An annotation `<<48/2=24>>` holds a formula and its result; the text goes on with the result: `>>24`.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from effxf_jax.gsm8k import formulas

_BRACKETS = re.compile(r'<<|>>')
_CURRENCY = f'[{formulas.CURRENCIES}]?'
_NUMBER = f'(?:{formulas.NUMBER})'
_SHOWN = re.compile(rf'\s*(-?{_CURRENCY}-?{_NUMBER}(?:/{_NUMBER})?%?)')
_FINAL = re.compile(r'-?[0-9][0-9,]*(?:\.[0-9]+)?')


class Fault(NamedTuple):
    """What is malformed in a solution: the number of the step (line), from 1, or 0 for the whole."""

    step: int
    reason: str


class Annotation(NamedTuple):
    """An annotation.

    Attributes:
        step: the number of its line in the solution, from 1.
        formula, result: the texts before and behind `=`.
        start, result_start: the offsets in the solution of formula and result.
        shown: the number that the text shows behind `>>`; None if no number follows.
    """

    step: int
    formula: str
    result: str
    start: int
    result_start: int
    shown: str | None


class Solution(NamedTuple):
    """A solution's annotations, its answer (None if there is none that is a number) and what is malformed."""

    annotations: tuple[Annotation, ...]
    answer: Fraction | None
    faults: tuple[Fault, ...]


def parse(solution: str) -> Solution:
    """Finds the parts of a solution, of any text."""
    annotations, faults, finals = [], [], []
    start = 0
    for step, line in enumerate(solution.split('\n'), 1):
        if line.lstrip().startswith('####'):
            finals.append((step, line.strip().removeprefix('####').strip()))
        else:
            if finals and line.strip():
                faults.append(Fault(step, 'text after the line with ####'))
            _scan(line, step, start, annotations, faults)
        start += len(line) + 1
    answer = _answer(finals, faults)
    return Solution(tuple(annotations), answer, tuple(faults))


def shortened(text: str, most: int = 60) -> str:
    """A text in quotes, cut to a length and without characters that a terminal would obey."""
    return repr(text if len(text) <= most else text[: most - 3] + '...')


def _scan(line: str, step: int, start: int, annotations: list[Annotation], faults: list[Fault]) -> None:
    """Appends the annotations and the faults of a line, which begins at the offset `start`."""
    opened = None
    for bracket in _BRACKETS.finditer(line):
        if bracket[0] == '<<':
            if opened is not None:
                faults.append(Fault(step, '<< without >>'))
            opened = bracket.end()
            continue
        if opened is None:
            faults.append(Fault(step, '>> without <<'))
            continue
        formula, equals, result = line[opened : bracket.start()].partition('=')
        if equals:
            shown = _SHOWN.match(line, bracket.end())
            result_start = start + opened + len(formula) + 1
            annotations.append(
                Annotation(step, formula, result, start + opened, result_start, shown and shown[1])
            )
        else:
            faults.append(Fault(step, f'no = in the annotation {shortened(formula)}'))
        opened = None
    if opened is not None:
        faults.append(Fault(step, '<< without >>'))


def _answer(finals: list[tuple[int, str]], faults: list[Fault]) -> Fraction | None:
    """The answer, given the lines that begin with #### without this sign; appends faults."""
    if len(finals) != 1:
        faults.append(Fault(0, f'{len(finals) or "no"} lines begin with ####; expected one'))
    if not finals:
        return None
    step, text = finals[-1]
    if not _FINAL.fullmatch(text):
        faults.append(Fault(step, f'#### must be followed by a number; got {shortened(text)}'))
        return None
    try:
        return -formulas.number(text[1:]) if text[0] == '-' else formulas.number(text)
    except formulas.FormulaError as error:
        faults.append(Fault(step, f'####: {error}'))
        return None
