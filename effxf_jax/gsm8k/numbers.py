"""A text as words, and the numbers that it states in digits or in words.

A number is stated with every value that a solution may write for it: `20%` as 20 and 1/5, `half` as 1/2, 1
and 2, since one divides by 2 as often as one multiplies by 1/2 or 0.5.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from effxf_jax.gsm8k import formulas

_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
_LETTERS = r'[^\W\d_]+'
_WORD = re.compile(
    rf'(?P<number>{formulas.NUMBER})|(?P<word>{_LETTERS}(?:[{_APOSTROPHES}]{_LETTERS})*)'
    r'|(?P<mark><<|>>|####|\S)'
)

_UNITS_NAMED = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen"""
_TENS_NAMED = 'twenty thirty forty fifty sixty seventy eighty ninety'
_UNITS = {name: value for value, name in enumerate(_UNITS_NAMED.split())}
_TENS = {name: 10 * value for value, name in enumerate(_TENS_NAMED.split(), 2)}
_SCALES = {'thousand': 10**3, 'million': 10**6, 'billion': 10**9, 'trillion': 10**12}
_COUNTS = {'dozen': 12, 'hundred': 100, **_SCALES}
"""What the number before them counts."""

_MULTIPLES_NAMED = {
    1: 'once',
    2: 'twice double doubles doubled doubling pair pairs couple couples',
    3: 'thrice triple triples tripled tripling',
    4: 'quadruple quadruples quadrupled quadrupling',
    5: 'quintuple quintuples quintupled quintupling',
    12: 'dozen',
}
_PARTS_NAMED = {
    2: 'half halves halved halving',
    3: 'third thirds',
    4: 'fourth fourths quarter quarters',
    5: 'fifth fifths',
    6: 'sixth sixths',
    7: 'seventh sevenths',
    8: 'eighth eighths',
    9: 'ninth ninths',
    10: 'tenth tenths',
}
_MULTIPLE = {name: value for value, names in _MULTIPLES_NAMED.items() for name in names.split()}
_PART = {name: value for value, names in _PARTS_NAMED.items() for name in names.split()}
_FRACTIONS = {
    sign: Fraction(*pair)
    for sign, pair in {
        '½': (1, 2), '⅓': (1, 3), '⅔': (2, 3), '¼': (1, 4), '¾': (3, 4), '⅕': (1, 5), '⅛': (1, 8),
    }.items()
}  # fmt: skip


class Word(NamedTuple):
    """A number, a word or a mark of punctuation, and the offset of its first character."""

    kind: str
    text: str
    offset: int


class Stated(NamedTuple):
    """A value that a text states, and the index of the word where it begins."""

    value: Fraction
    position: int


def words(text: str) -> list[Word]:
    """Splits a text: kinds are 'number', 'word' and 'mark'."""
    return [Word(match.lastgroup, match[0], match.start()) for match in _WORD.finditer(text)]


def stated(text: Sequence[Word]) -> Iterator[Stated]:
    """Yields the numbers that words state, in their order; a number may yield several values."""
    # The marks at the end let a rule look ahead without a look at the length.
    names = [*(_name(word) for word in text), *[''] * 4]
    position = 0
    while position < len(text):
        if text[position].kind == 'number':
            value, after = _numeral(names[position]), position + 1
        else:
            value, after = _spelt(names, position)
        values = _single(names, position) if value is None else _together(value, names, after)
        yield from (Stated(Fraction(value), position) for value in dict.fromkeys(values))
        position = max(after, position + 1)


def _name(word: Word) -> str:
    """The word as the tables have it."""
    name = word.text.casefold()
    return name.removesuffix('s') if name.removesuffix('s') in _COUNTS else name


def _numeral(name: str) -> Fraction | None:
    """The value of a numeral; None for other words, and for a number that is too long for a problem."""
    try:
        return formulas.number(name) if name[-1:].isdecimal() and name.isascii() else None
    except formulas.FormulaError:
        return None


def _spelt(names: Sequence[str], start: int) -> tuple[Fraction | None, int]:
    """The value of a number in words, such as `two hundred and five`, and the position after it."""
    total, group, position, scale = 0, 0, start, float('inf')
    while True:
        # What may be added to the group of three digits: all at first, then tens, then units.
        room = 100 if group % 100 == 0 else 10 if group % 100 in _TENS.values() else 0
        joins = position > start and ((names[position] == '-' and room == 10) or names[position] == 'and')
        name = names[position + joins]
        value = _UNITS.get(name, _TENS.get(name))
        if value is not None and value < room and (value or position == start):
            group += value
        elif joins or (position > start and not group):
            break
        elif name == 'hundred' and group < 100:
            group = 100 * (group or 1)
        elif name in _SCALES and _SCALES[name] < scale:
            scale = _SCALES[name]
            total, group = total + (group or 1) * scale, 0
        else:
            break
        position += 1 + joins
    return (Fraction(total + group) if position > start else None), position


def _together(value: Fraction, names: Sequence[str], after: int) -> Iterator[Fraction]:
    """Yields the values that a number has alone and with the words that follow it."""
    yield value
    following = names[after]
    if following in ('%', 'percent') or (following, names[after + 1]) == ('per', 'cent'):
        yield value / 100
    yield value * _COUNTS.get(following, 1)
    if part := _part(names, after):
        yield value * part
    joins = following in ('and', '-')
    if fraction := _fraction(names, after + joins, in_words=following == 'and'):
        yield value + fraction


def _single(names: Sequence[str], position: int) -> Iterator[Fraction | int]:
    """Yields the values of a word or a sign that is no number but states one."""
    name = names[position]
    if name in _MULTIPLE:
        yield _MULTIPLE[name]
    if name in _PART:
        yield from (Fraction(1, _PART[name]), _PART[name], 1)
    if name in _FRACTIONS:
        yield from (_FRACTIONS[name], _FRACTIONS[name].numerator, _FRACTIONS[name].denominator)
    if name == 'half' and 'dozen' in names[position + 1 : position + 3]:
        yield 6


def _part(names: Sequence[str], position: int) -> Fraction | None:
    """What the second half of a fraction multiplies a number by: `/4`, `-quarters`, `thirds`."""
    if names[position] == '/':
        divisor = _numeral(names[position + 1])
        return 1 / divisor if divisor else None
    divisor = _PART.get(names[position + (names[position] == '-')])
    return Fraction(1, divisor) if divisor else None


def _fraction(names: Sequence[str], position: int, in_words: bool) -> Fraction | None:
    """The fraction that stands at a position: `1/2`, `½`, or in words `a half`, `three-quarters`."""
    name = names[position]
    if name in _FRACTIONS:
        return _FRACTIONS[name]
    if (numerator := _numeral(name)) is not None:
        part = _part(names, position + 1) if names[position + 1] == '/' else None
        return part and numerator * part
    if not in_words:
        return None
    if name in ('a', 'one'):
        return _part(names, position + 1) if names[position + 1] != '/' else None
    if name in _UNITS:
        part = _part(names, position + 1)
        return part and _UNITS[name] * part
    return _part(names, position)
