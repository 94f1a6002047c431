"""The arithmetic of a calculator annotation, exactly: `parse('48/2').value == Fraction(24)`.

    sum      = product, (('+' | '-'), product)*
    product  = signed, (('*' | '/' | '//'), signed)*
    signed   = ('+' | '-')*, percent
    percent  = (number | '(', sum, ')'), '%'*

Typographic signs of these operators are read, too. A percent sign is a hundredth; signs of currencies are
ignored. A text is limited in length, depth and digits, so that no text takes long.
"""

import re
from fractions import Fraction
from typing import NamedTuple

NUMBER = r'[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+'
"""A pattern: digits, with or without commas between thousands, and decimals."""

CURRENCIES = '$€£¥'

MAX_LENGTH, MAX_DEPTH, MAX_DIGITS = 200, 20, 30
"""The longest formula in characters, its deepest parentheses, and its longest number."""

MINUS = '\N{MINUS SIGN}'
_OPERATORS = {'x': '*', 'X': '*', '\N{MULTIPLICATION SIGN}': '*', '÷': '/', MINUS: '-'}
_TOKEN = re.compile(rf'\s*(?:({NUMBER})|(//|[-+*/()%{CURRENCIES}{"".join(_OPERATORS)}])|(\S))')


class FormulaError(ValueError):
    """A text is no formula; the message gives the reason."""


class Numeral(NamedTuple):
    """A number in a formula: its value without its sign, and the offset of its first character."""

    value: Fraction
    offset: int


class Formula(NamedTuple):
    """What a formula says.

    Attributes:
        value: its value.
        operands: its numbers from left to right.
        notations: what occurs in it besides plain numbers and + - * /, such as 'percent'.
    """

    value: Fraction
    operands: tuple[Numeral, ...]
    notations: frozenset[str]


class _Token(NamedTuple):
    kind: str  # 'number', 'end', or an operator
    text: str
    offset: int


def parse(text: str) -> Formula:
    """Evaluates a formula.

    Raises:
        FormulaError: it is none, or over a limit.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f'a formula of {len(text):,} characters; at most {MAX_LENGTH} are read')
    if not text.strip():
        raise FormulaError('no formula')
    notations = set()
    tokens = _tokens(text, notations)
    parser = _Parser(tokens, notations)
    value = parser.sum(depth=0)
    left = parser.next
    if left.kind == ')':
        raise FormulaError('a parenthesis is closed that was not opened')
    if left.kind != 'end':
        raise FormulaError(f'no operator before {left.text!r}')
    return Formula(value, tuple(parser.operands), frozenset(notations))


def number(text: str) -> Fraction:
    """The value of a text of the pattern NUMBER.

    Raises:
        FormulaError: it has too many digits.
    """
    plain = text.replace(',', '')
    if len(plain.replace('.', '')) > MAX_DIGITS:
        raise FormulaError(f'a number of over {MAX_DIGITS} digits')
    return Fraction(plain)


def _tokens(text: str, notations: set[str]) -> list[_Token]:
    """The tokens of a text, without signs of currencies; the last has the kind 'end'."""
    tokens = []
    for match in _TOKEN.finditer(text):
        numeral, sign, other = match.groups()
        if other:
            word = re.match(r'\w+', text[match.start(3) :])
            found = f'the word {word[0][:20]!r}' if word else f'the character {other!r}'
            raise FormulaError(f'{found} is no part of a formula')
        if numeral:
            if ',' in numeral:
                notations.add('comma between thousands')
            if numeral[0] == '.':
                notations.add('no digit before the point')
            tokens.append(_Token('number', numeral, match.start(1)))
        elif sign in CURRENCIES:
            notations.add('currency')
        else:
            if sign in _OPERATORS:
                notations.add('typographic operator')
            tokens.append(_Token(_OPERATORS.get(sign, sign), sign, match.start(2)))
    return [*tokens, _Token('end', '', len(text))]


class _Parser:
    """Descends through the grammar; its place in the tokens is state."""

    def __init__(self, tokens: list[_Token], notations: set[str]):
        self._tokens = iter(tokens)
        self._notations = notations
        self.operands: list[Numeral] = []
        self.next = next(self._tokens)

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while self.next.kind in ('+', '-'):
            if self._take().kind == '+':
                value += self._product(depth)
            else:
                value -= self._product(depth)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while self.next.kind in ('*', '/', '//'):
            operator, factor = self._take().kind, self._signed(depth)
            if operator == '*':
                value *= factor
                continue
            if not factor:
                raise FormulaError('division by zero')
            if operator == '/':
                value /= factor
            else:
                self._notations.add('floor division')
                value = Fraction(value // factor)
        return value

    def _signed(self, depth: int) -> Fraction:
        is_negative = False
        while self.next.kind in ('+', '-'):
            self._notations.add('sign before a number')
            is_negative ^= self._take().kind == '-'
        value = self._percent(depth)
        return -value if is_negative else value

    def _percent(self, depth: int) -> Fraction:
        token = self._take()
        if token.kind == 'number':
            value = number(token.text)
            hundredths = self._hundredths()
            self.operands.append(Numeral(value / hundredths, token.offset))
            return value / hundredths
        if token.kind == '(':
            if depth == MAX_DEPTH:
                raise FormulaError(f'over {MAX_DEPTH} parentheses inside each other')
            self._notations.add('parentheses')
            value = self.sum(depth + 1)
            if self.next.kind == 'end':
                raise FormulaError('a parenthesis is not closed')
            if self._take().kind != ')':
                raise FormulaError('no operator between two values in parentheses')
            return value / self._hundredths()
        raise FormulaError(f'no number before {token.text!r}' if token.text else 'no number at the end')

    def _hundredths(self) -> int:
        """100 to the power of the number of percent signs that follow."""
        divisor = 1
        while self.next.kind == '%':
            self._take()
            self._notations.add('percent')
            divisor *= 100
        return divisor

    def _take(self) -> _Token:
        token = self.next
        self.next = next(self._tokens, token)  # the end stays
        return token
