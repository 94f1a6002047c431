"""A language for constructions: registers of the residual stream, lookups and piecewise-linear updates.

A program computes numbers at every position of a sequence. Some registers are functions of the token or of
the position; a layer then adds registers that attention looks up at other positions, and registers that are
piecewise-linear functions of others at the same position. The program ends in logits. `interpreter` runs it
exactly, `compiler` turns it into parameters of the ordinary Transformer.

    program = Program(vocabulary_size, max_length)
    value = program.of_token('value', value_of_token)
    here = program.address('here', Digits(max_length), np.arange(max_length))
    above = program.address('above', Digits(max_length), np.maximum(np.arange(max_length) - 5, 0))
    layer = program.layer()
    (read,) = layer.look_up(above, here, [value], ['read'])
    larger = layer.set('larger', read + relu(value - read))
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class ConstructionError(ValueError):
    """A program is invalid, or does not fit into a model."""


class Expression(NamedTuple):
    """A piecewise-linear function of registers at one position: an affine function and a sum of ReLUs.

    Attributes:
        weights: the coefficients of registers.
        constant: the value where all registers are zero.
        units: coefficients and affine arguments of ReLUs.
    """

    weights: Mapping['Register', float]
    constant: float
    units: tuple[tuple[float, 'Expression'], ...] = ()

    def __add__(self, other):
        other = expression(other)
        weights = dict(self.weights)
        for register, weight in other.weights.items():
            weights[register] = weights.get(register, 0.0) + weight
        return Expression(weights, self.constant + other.constant, self.units + other.units)

    def __mul__(self, factor):
        weights = {register: factor * weight for register, weight in self.weights.items()}
        units = tuple((factor * weight, argument) for weight, argument in self.units)
        return Expression(weights, factor * self.constant, units)

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -expression(other)

    def __rsub__(self, other):
        return expression(other) - self

    __radd__, __rmul__ = __add__, __mul__

    @property
    def registers(self) -> list['Register']:
        """The registers that it reads."""
        return [*self.weights, *(register for _, argument in self.units for register in argument.weights)]


@dataclasses.dataclass(frozen=True, eq=False)
class Register:
    """A number at every position, with the name that errors and the interpreter show."""

    name: str

    def __add__(self, other):
        return expression(self) + other

    def __sub__(self, other):
        return expression(self) - other

    def __rsub__(self, other):
        return expression(other) - self

    def __mul__(self, factor):
        return expression(self) * factor

    def __neg__(self):
        return expression(self) * -1.0

    __radd__, __rmul__ = __add__, __mul__


def expression(value: 'Expression | Register | float') -> Expression:
    """A register or a number as an expression."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, Register):
        return Expression({value: 1.0}, 0.0)
    return Expression({}, float(value))


def relu(value: Expression | Register) -> Expression:
    """max(value, 0) of an affine expression.

    Raises:
        ConstructionError: the expression has ReLUs itself; these need a layer of their own.
    """
    value = expression(value)
    if value.units:
        raise ConstructionError('relu takes an affine expression; set a register to its argument first')
    return Expression({}, 0.0, ((1.0, value),))


def only_where(value: Expression | Register, lacking: Expression | Register, most: float) -> Expression:
    """A number where a flag is 0, and 0 where the flag is 1 or more.

    Errors of the flag cancel, since both ReLUs have them.

    Args:
        value: the number, affine, from 0 to less than `most`.
        lacking: the flag, affine.
        most: see `value`.
    """
    gate = most - 2 * most * expression(lacking)
    return relu(value + gate) - relu(gate)


class Digits(NamedTuple):
    """Addresses 0 ... size - 1 for softmax attention: each digit of the number as a point on a circle.

    Two addresses have the largest inner product where they are equal. The width is 2 for each digit, so it
    grows as log(size).

    Attributes:
        size: the number of addresses.
        base: values of a digit.
        radius: the circle's radius; a larger one makes rounding in LayerNorm matter less.
    """

    size: int
    base: int = 32
    radius: float = 16.0

    @property
    def width(self) -> int:
        return 2 * max(1, math.ceil(math.log(self.size) / math.log(self.base) - 1e-9))

    @property
    def gap(self) -> float:
        """By how much the inner product of unequal addresses is smaller, at least."""
        return self.radius**2 * (1 - math.cos(2 * math.pi / self.base))

    @property
    def match(self) -> float:
        """The inner product of equal addresses."""
        return self.radius**2 * self.width / 2

    def encode(self, addresses: np.ndarray) -> np.ndarray:
        """The codes of addresses, float64 `[..., width]`."""
        places = self.base ** np.arange(self.width // 2)
        angles = 2 * np.pi / self.base * (np.asarray(addresses)[..., None] // places % self.base)
        codes = self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        return codes.reshape(*codes.shape[:-2], -1)


class OneHot(NamedTuple):
    """Addresses 0 ... size - 1 as orthogonal vectors, for linear attention; -1, none, is the zero vector.

    A key of -1 is found by no query. A query of -1 finds all other keys, and reads zero if there are none.

    Attributes:
        size: the number of addresses.
        radius: the vectors' length; a larger one makes rounding in LayerNorm matter less.
    """

    size: int
    radius: float = 16.0

    @property
    def width(self) -> int:
        return self.size

    def encode(self, addresses: np.ndarray) -> np.ndarray:
        """The codes of addresses, float64 `[..., width]`."""
        return self.radius * (np.asarray(addresses)[..., None] == np.arange(self.size))


class Address(NamedTuple):
    """The registers that hold the code of an address at every position."""

    code: Digits | OneHot
    registers: tuple[Register, ...]

    def choice(self) -> list[Expression]:
        """For each address of a OneHot code, 1 where it is the one and 0 elsewhere."""
        return [register * (1 / self.code.radius) for register in self.registers]


class Search(NamedTuple):
    """A head of softmax attention: the mean of values over the visible positions with the largest score.

    This is saturated attention (Merrill et al. 2021, arXiv 2106.16213).

    Attributes:
        query, key: affine expressions at the position that reads and at the position read, equally many; the
            score is their inner product.
        values: affine expressions at the positions found.
        targets: the registers that receive `factor` times the values' means.
        gap: by how much all other scores are smaller, at least.
        match: given, the least score that a position found may have.
        factor: such as the number of positions found, where a sum is wanted.
        share: given, an affine expression; a position found counts e^share times. It must be far below what
            makes up for the gap.
    """

    query: tuple[Expression, ...]
    key: tuple[Expression, ...]
    values: tuple[Expression, ...]
    targets: tuple[Register, ...]
    gap: float
    match: float | None = None
    factor: float = 1.0
    share: Expression | None = None

    @property
    def sources(self) -> list[Register]:
        """The registers that it reads."""
        shares = () if self.share is None else (self.share,)
        parts = (*self.query, *self.key, *self.values, *shares)
        return [register for part in parts for register in part.registers]

    @property
    def width(self) -> int:
        """The least width of a head."""
        return max(len(self.key) + (self.share is not None), len(self.values))


class Lookup(NamedTuple):
    """A head of linear attention: the mean of values over the visible positions whose key is the query.

    Attributes:
        query, key: addresses with the same code.
        values: affine expressions at the positions found.
        targets: the registers that receive `factor` times their means.
        factor: such as the number of positions found, where a sum is wanted.
        age: given, only those positions count whose age is the smallest among the matches.
        change: with an age, by how much a value may differ from the one that overwrites it.
    """

    query: Address
    key: Address
    values: tuple[Expression, ...]
    targets: tuple[Register, ...]
    factor: float = 1.0
    age: Register | None = None
    change: float = 0.0

    @property
    def sources(self) -> list[Register]:
        """The registers that it reads."""
        age = () if self.age is None else (self.age,)
        values = [register for value in self.values for register in value.registers]
        return [*self.query.registers, *self.key.registers, *values, *age]

    @property
    def width(self) -> int:
        """The least width of a head."""
        return max(self.key.code.width, len(self.values))


class Overlap(NamedTuple):
    """A head of linear attention: the mean of values over the visible positions that share features.

    A position counts as often as it has features in common with the query; the mean over none is zero.

    Attributes:
        query, key: affine expressions, one for each feature: 0 where the position that reads, or the position
            read, has the feature, and at least 1 where it has not.
        values: affine expressions at the positions found.
        targets: the registers that receive `factor` times their means.
        factor: such as the number of positions found, where a sum is wanted.
    """

    query: tuple[Expression, ...]
    key: tuple[Expression, ...]
    values: tuple[Expression, ...]
    targets: tuple[Register, ...]
    factor: float = 1.0

    @property
    def sources(self) -> list[Register]:
        """The registers that it reads."""
        parts = (*self.query, *self.key, *self.values)
        return [register for part in parts for register in part.registers]

    @property
    def width(self) -> int:
        """The least width of a head."""
        return max(len(self.key) + 1, len(self.values))  # and a feature that no key has


class Recall(NamedTuple):
    """A head of the delta rule: a table with a row for each key, which a write replaces.

    A position that writes replaces the row of its key by its values; then it reads.

    Attributes:
        query: affine expressions, one for each row: 1 if the position reads the row, otherwise 0. It reads
            the sum of all these rows.
        key: likewise the one row that the position may write.
        idle: an affine expression: 0 where the position writes, 1 where it does not.
        values: affine expressions, far below the compiler's anchor.
        targets: the registers that receive the sums.
        rows: how many rows with values a query reads; other numbers of rows scale what is read.
    """

    query: tuple[Expression, ...]
    key: tuple[Expression, ...]
    idle: Expression
    values: tuple[Expression, ...]
    targets: tuple[Register, ...]
    rows: int = 1

    @property
    def sources(self) -> list[Register]:
        """The registers that it reads."""
        parts = (*self.query, *self.key, self.idle, *self.values)
        return [register for part in parts for register in part.registers]

    @property
    def width(self) -> int:
        """The least width of a head."""
        return max(len(self.key), len(self.values) + 1)  # and the anchor


def _affine(values: Sequence[Register | Expression]) -> tuple[Expression, ...]:
    affine = tuple(map(expression, values))
    if any(value.units for value in affine):
        raise ConstructionError('attention reads affine expressions; set a register to the value first')
    return affine


class Layer:
    """Heads of attention, then piecewise-linear updates; made by `Program.layer`."""

    def __init__(self, number: int):
        self.number = number
        self.heads: list[Search | Lookup | Overlap | Recall] = []
        self.updates: list[tuple[Register, Expression]] = []

    def look_up(
        self,
        query: Address,
        key: Address,
        values: Sequence[Register | Expression],
        names: Sequence[str],
        factor: float = 1.0,
        age: Register | None = None,
        change: float = 0.0,
    ) -> list[Register]:
        """Adds a head that finds the positions whose key is the query.

        Addresses that are `Digits` are for softmax attention, which must find a position, such as the one
        that reads. Addresses that are `OneHot` are for linear attention. See `Lookup`.

        Returns:
            The registers, with these names, of what it reads: `factor` times the means of the values.

        Raises:
            ConstructionError: the addresses have different codes, a value is not affine, or softmax attention
                is given an age.
        """
        if query.code != key.code:
            raise ConstructionError(f'query {query.code} and key {key.code} must have the same code')
        if isinstance(key.code, OneHot):
            targets = tuple(map(Register, names))
            self.heads.append(Lookup(query, key, _affine(values), targets, factor, age, change))
            return list(targets)
        if age is not None:
            raise ConstructionError('only linear attention overwrites by age')
        code = key.code
        match = code.match - code.gap / 2
        return self.find(query.registers, key.registers, values, names, code.gap, match, factor)

    def find(
        self,
        query: Sequence[Register | Expression],
        key: Sequence[Register | Expression],
        values: Sequence[Register | Expression],
        names: Sequence[str],
        gap: float,
        match: float | None = None,
        factor: float = 1.0,
        share: Register | Expression | None = None,
    ) -> list[Register]:
        """Adds a head of softmax attention that finds the positions with the largest score; see `Search`.

        Returns:
            The registers, with these names, of `factor` times the values' means.

        Raises:
            ConstructionError: query and key differ in length, or an expression is not affine.
        """
        (share,) = (None,) if share is None else _affine([share])
        of_search = {'gap': gap, 'match': match, 'factor': factor, 'share': share}
        return self._add(Search, query, key, values, names, **of_search)

    def overlap(
        self,
        query: Sequence[Register | Expression],
        key: Sequence[Register | Expression],
        values: Sequence[Register | Expression],
        names: Sequence[str],
        factor: float = 1.0,
    ) -> list[Register]:
        """Adds a head of linear attention that finds the positions that share features; see `Overlap`.

        Returns:
            The registers, with these names, of `factor` times the values' means.

        Raises:
            ConstructionError: query and key differ in length, or an expression is not affine.
        """
        return self._add(Overlap, query, key, values, names, factor=factor)

    def recall(
        self,
        query: Sequence[Register | Expression],
        key: Sequence[Register | Expression],
        values: Sequence[Register | Expression],
        names: Sequence[str],
        idle: Register | Expression | float = 0.0,
        rows: int = 1,
    ) -> list[Register]:
        """Adds a head of the delta rule that writes rows of a table and reads some; see `Recall`.

        Returns:
            The registers, with these names, of the sums that it reads.

        Raises:
            ConstructionError: query and key differ in length, or an expression is not affine.
        """
        (idle,) = _affine([idle])
        return self._add(Recall, query, key, values, names, idle=idle, rows=rows)

    def _add(self, kind, query, key, values, names, **others) -> list[Register]:
        """Adds a head whose query and key are affine expressions; the registers of what it reads."""
        if len(query) != len(key):
            raise ConstructionError(f'a query of {len(query)} numbers and a key of {len(key)} have no score')
        targets = tuple(map(Register, names))
        parts = {'query': _affine(query), 'key': _affine(key), 'values': _affine(values)}
        self.heads.append(kind(**parts, targets=targets, **others))
        return list(targets)

    def set(self, name: str, value: Expression | Register) -> Register:
        """Adds a register with this value of the registers before this layer or looked up in it."""
        register = Register(name)
        self.updates.append((register, expression(value)))
        return register


class Program:
    """A program under construction.

    Attributes:
        vocabulary_size: tokens in the vocabulary.
        max_length: positions in the longest sequence.
        constant: the compiler's C. Content of the norm c distorts LayerNorm by (c / 2C)^2, and float32 rounds
            what LayerNorm reads at about C / 10^8.
        tokens: by register, its value for each token, float64 `[vocabulary_size]`.
        positions: by register, its value at each position, float64 `[max_length]`.
        layers: the layers.
        logits: for each token an affine expression; a token without one is never written.
    """

    def __init__(self, vocabulary_size: int, max_length: int, constant: float = 2.0**15):
        self.vocabulary_size, self.max_length, self.constant = vocabulary_size, max_length, constant
        self.tokens: dict[Register, np.ndarray] = {}
        self.positions: dict[Register, np.ndarray] = {}
        self.layers: list[Layer] = []
        self.logits: dict[int, Expression] = {}

    def of_token(self, name: str, values: np.ndarray) -> Register:
        """A register that is a function of the token, `[vocabulary_size]`."""
        return self._input(self.tokens, name, values, self.vocabulary_size)

    def of_position(self, name: str, values: np.ndarray) -> Register:
        """A register that is a function of the position, `[max_length]`; equal functions share one."""
        return self._input(self.positions, name, values, self.max_length)

    def address(self, name: str, code: Digits | OneHot, addresses: np.ndarray) -> Address:
        """An address that is a function of the position, int `[max_length]`."""
        codes = code.encode(addresses)
        registers = [self.of_position(f'{name}.{i}', codes[:, i]) for i in range(code.width)]
        return Address(code, tuple(registers))

    def layer(self) -> Layer:
        """Adds a layer."""
        self.layers.append(Layer(len(self.layers)))
        return self.layers[-1]

    def write(self, token: int, score: Expression | Register) -> None:
        """Makes an affine expression the logit of a token."""
        self.logits[token] = expression(score)

    @staticmethod
    def _input(table, name, values, size):
        values = np.asarray(values, np.float64)
        if values.shape != (size,):
            raise ConstructionError(f'{name} must have {size} values; got shape {values.shape}')
        for register, known in table.items():
            if np.array_equal(known, values):
                return register
        register = Register(name)
        table[register] = values
        return register
