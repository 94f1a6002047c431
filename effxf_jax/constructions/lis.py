"""Programs for the longest increasing subsequence of n numbers.

Behind the numbers stand the lengths d(1) ... d(n) of the longest runs that end at each. The next one is one
more than the largest length of a smaller number; the answer is the largest of all.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from effxf_jax.constructions import recurrence
from effxf_jax.constructions.program import (
    Digits,
    Expression,
    OneHot,
    Program,
    Register,
    only_where,
    relu,
)
from effxf_jax.tasks.lis import SEP, LongestIncreasingSubsequence
from effxf_jax.tasks.task import EOS

_BIT = 16.0  # a bit is held as plus or minus this number; rounding in LayerNorm matters less if it is large
_FLAG = 64.0  # for flags in scores that must be equal
_UNIT = 8.0  # lengths are held divided by it, since large numbers distort LayerNorm


class Plan(NamedTuple):
    """What every position writes next and holds itself, `[max_length]`.

    Attributes:
        next, own: the index, from 1, of the length that is written next, and of the one that stands here; 0
            where it is none.
        is_separator, is_answer, is_end: whether this is written next.
    """

    next: np.ndarray
    own: np.ndarray
    is_separator: np.ndarray
    is_answer: np.ndarray
    is_end: np.ndarray


def plan(task: LongestIncreasingSubsequence) -> Plan:
    """The plan of a task."""
    here = np.arange(task.max_length) - task.n
    index = lambda at: np.where((at >= 1) & (at <= task.n), at, 0)
    return Plan(index(here + 1), index(here), here == task.n, here == task.n + 1, here == task.n + 2)


def num_bits(task: LongestIncreasingSubsequence) -> int:
    """The bits of a number."""
    return max(1, int(task.number_range - task.n - 2).bit_length())


def standard(task: LongestIncreasingSubsequence) -> Program:
    """Standard attention: a head for each bit finds the longest run that ends at a smaller number.

    A number is smaller than the next one if, at some bit, it has a 0 and the next one a 1, and all higher
    bits are equal. The head of a bit finds the longest of the runs that end at such numbers; where there is
    none, or the next number's bit is 0, it finds the `<sep>`, which has the length 0. For the answer all
    heads find the longest run. The width is polylogarithmic: O(log^2) of the range of numbers.
    """
    of, bits = plan(task), num_bits(task)
    program, length, own_bits = _begin(task)
    here = np.arange(task.max_length)
    at = program.address('here', Digits(task.max_length), here)
    where_next = program.address('next at', at.code, np.where(of.next > 0, of.next - 1, here))
    where_own = program.address('own at', at.code, np.where(of.own > 0, of.own - 1, here))
    layer = program.layer()
    *following, searching = layer.look_up(where_next, at, own_bits, _names('next', bits))
    *own, present = layer.look_up(where_own, at, own_bits, _names('own', bits))

    layer = program.layer()
    # An equal bit scores _BIT^2, and presence takes as much away for each. All are copied by the same heads,
    # so that their errors cancel too.
    null = program.of_position('is null', _BIT * (here == task.n))
    outside = program.of_position('is outside', _BIT * (here < task.n))
    by_length = _BIT**2 / (2 * (task.n + 1))  # the longest length is less than half of a bit
    found = []
    for bit in range(bits):
        count = bits - bit
        query = [*following[bit + 1 :], -searching, -count * searching, -following[bit], _UNIT * by_length]
        key = [*own[bit + 1 :], own[bit], present + 3 * outside, null, length]
        found += layer.find(query, key, [length], [f'longest by bit {bit}'], gap=by_length)
    largest = _largest(program, layer, found)
    _write(program, task, of, largest)
    return program


def linear(task: LongestIncreasingSubsequence) -> Program:
    """Linear attention that counts, for each length, the smaller numbers whose run has it: width O(n).

    A number has two digits. Numbers are smaller if their high digit is, or if it is equal and their low digit
    is smaller; a read finds the ones, the next the others, and lays them out by the lengths of their runs.
    The runs of all smaller numbers together have all lengths from 1 to the largest, since a run without its
    last number is a run; so have those of the numbers with a smaller high digit. So the largest length is how
    many there are.
    """
    of, size, n = plan(task), task.vocabulary.size, task.n
    base = math.ceil(math.sqrt(task.number_range - n - 1))
    rows = -(-(task.number_range - n - 1) // base)
    program = Program(size, task.max_length, constant=2.0**16)
    stands_for = np.arange(size) - SEP
    value = np.maximum(stands_for - n - 1, 0)
    digits = program.of_token('high', value // base), program.of_token('low', value % base)
    runs = [program.of_token(f'run of {k}', _FLAG * (stands_for == k)) for k in range(1, n + 1)]
    following, own = _look_up_digits(program, task, of, digits, base)

    # Comparisons of the digits, from which every feature follows.
    layer = program.layer()
    at_least = lambda name, digit, count: [
        layer.set(f'{name} >= {k}', _FLAG * _step(digit - k)) for k in range(1, count + 1)
    ]
    next_high, next_low = at_least('next high', following[0], rows), at_least('next low', following[1], base)
    own_high, own_low = at_least('own high', own[0], rows), at_least('own low', own[1], base)

    layer = program.layer()
    shares = layer.overlap(
        [1 - high * (1 / _FLAG) for high in next_high],
        _other_than(own_high),
        runs,
        [f'smaller by the high digit, of {k}' for k in range(1, n + 1)],
    )
    # A share is at least 1 / n. Counts would distort LayerNorm, as they are large.
    is_there = lambda share: _step(2 * n / _FLAG * share - 1)
    longest = layer.set('longest by the high digit', sum(map(is_there, shares)) * (1 / _UNIT))

    layer = program.layer()
    smaller_low = [1 - low * (1 / _FLAG) for low in next_low]
    shares = layer.overlap(
        [high + low for high in _other_than(next_high) for low in smaller_low],
        [high + low for high in _other_than(own_high) for low in _other_than(own_low)],
        runs,
        [f'smaller by the low digit, of {k}' for k in range(1, n + 1)],
    )
    found = [layer.set(f'there is one of {k}', _FLAG * is_there(share)) for k, share in enumerate(shares, 1)]
    no_longer = [layer.set(f'{k} is no longer', _FLAG * _step(_UNIT * longest - k)) for k in range(1, n + 1)]

    layer = program.layer()
    # Registers take coordinates, whose signs alternate, in the order in which they are read: this order gives
    # either sign to half of each kind, which keeps their sum small.
    longer = [
        relu(there - 2 * no if k % 2 else -2 * no + there)
        for k, (there, no) in enumerate(zip(found, no_longer, strict=True))
    ]
    largest = layer.set('longest', longest + 1 / (_FLAG * _UNIT) * sum(longer))
    _write(program, task, of, largest)
    return program


def _look_up_digits(
    program: Program,
    task: LongestIncreasingSubsequence,
    of: Plan,
    digits: tuple[Register, Register],
    base: int,
) -> tuple[list[Register], list[Register]]:
    """Adds layers of linear attention that look up the digits of the next number, and of the number here.

    The numbers are a table of about sqrt(n) rows. Where there is no number the digits are above all others.

    Returns:
        The high and the low digit of the number whose length is written next, and of the number whose length
        stands here.
    """
    n, here = task.n, np.arange(task.max_length)
    columns = math.ceil(math.sqrt(n))
    last, in_last = (n - 1) // columns, n - (n - 1) // columns * columns
    code = OneHot(last + 1)
    row_of = lambda index: np.where(index >= 0, index // columns, -1)
    others = lambda name, index: [
        program.of_position(f'{name} is not {c}', (index < 0) | (index % columns != c))
        for c in range(columns)
    ]
    placed = np.where(here < n, here, -1)
    table = program.address('row', code, row_of(placed))
    is_last, is_not_last = (
        program.of_position(name, where)
        for name, where in (('last row', row_of(placed) == last), ('other row', row_of(placed) != last))
    )
    layer = program.layer()
    most = base + 1.0
    cells = []
    for digit in digits:
        for c, other in enumerate(others('column', placed)):
            # A row is read as its mean, times the length of all rows but the last.
            cell = only_where(digit, other + is_last, most)
            cell += in_last / columns * only_where(digit, other + is_not_last, most)
            cells.append(layer.set(f'{digit.name} in column {c}', cell))

    found = []
    for name, index in ('next', of.next - 1), ('own', of.own - 1):
        layer = program.layer()
        read = layer.look_up(
            program.address(f'{name} row', code, row_of(index)),
            table,
            cells,
            [f'{name} {cell.name}' for cell in cells],
            factor=columns,
        )
        none = 2 * base * program.of_position(f'{name} is none', index < 0)
        parts = [
            only_where(cell, other, most)
            for cell, other in zip(read, 2 * others(f'{name} column', index), strict=True)
        ]
        high, low = sum(parts[:columns], none), sum(parts[columns:], none)
        found.append([layer.set(f'{name} high', high), layer.set(f'{name} low', low)])
    return found[0], found[1]


def _step(value: Expression | Register) -> Expression:
    """1 where a number is 0 or more, and 0 where it is -1 or less."""
    # Both ReLUs are zero for large values, so that these do not cancel each other in a sum.
    return 1 - relu(-2 * value - 0.5) + relu(-2 * value - 1.5)


def _other_than(at_least: list[Register]) -> list[Expression]:
    """For each digit 0, 1 ...: 0 where a number is the digit, otherwise 1.

    Args:
        at_least: whether the number is at least 1, 2 ..., as _FLAG or 0.
    """
    flags = [Expression({}, 1.0), *(flag * (1 / _FLAG) for flag in at_least)]
    return [1 - one + more for one, more in itertools.pairwise(flags)]


def fixed(task: LongestIncreasingSubsequence) -> Program:
    """Fixed blocks with summaries of one position: width O(n), as for `linear`.

    The last position of a block holds the mean of its block, and counts as many times as the block has
    positions. The size of the blocks divides n + 1, so that none has both numbers and lengths.
    """
    of, size = plan(task), block_size(task)
    program, held, places = _laid(task)
    here = np.arange(task.max_length)
    is_last, in_chain = here % size == size - 1, here > task.n
    # What counts alike has the key zero, so that the weights are equal up to a small error.
    flag = lambda name, where: program.of_position(name, _FLAG * where)
    always, last = Expression({}, _FLAG), flag('is last', is_last)
    layer = program.layer()
    means = layer.find([always], [-1 * last], held, _numbered('mean', task), gap=_FLAG**2)
    most, not_last = _most(task) / _FLAG, flag('is not last', ~is_last)
    held = [
        layer.set(
            f'stands for {i}',
            1 / size * relu((size - 1) * mean + own - size * most * not_last) + relu(own - most * last),
        )
        for i, (mean, own) in enumerate(zip(means, held, strict=True), 1)
    ]
    layer = program.layer()
    numbers = layer.find(
        [always],
        [-1 * flag('sums up no numbers', in_chain | ~is_last)],
        held,
        _numbered('number', task),
        gap=_FLAG**2,
        factor=task.n + 1,
    )
    # The last position of a block sums up what it sees of its block, so it does not count that again.
    lengths = layer.find(
        [always, last],
        [-1 * flag('before the chain', ~in_chain), -1 * flag('within a block', in_chain & ~is_last)],
        held,
        _numbered('length', task),
        gap=_FLAG**2,
        factor=task.n,
        share=math.log(size) * program.of_position('stands for a block', is_last),
    )
    _search_everything(program, task, of, places, layer, numbers, lengths)
    return program


def block_size(task: LongestIncreasingSubsequence) -> int:
    """The divisor of n + 1 that is nearest to the square root of the length, by their ratio."""
    sizes = [size for size in range(1, task.n + 2) if (task.n + 1) % size == 0]
    return min(sizes, key=lambda size: abs(math.log(size / math.sqrt(task.max_length))))


def _numbered(name: str, task: LongestIncreasingSubsequence) -> list[str]:
    return [f'{name} {i}' for i in range(1, task.n + 1)]


def _laid(task: LongestIncreasingSubsequence) -> tuple[Program, list[Register], list[Expression]]:
    """A program whose numbers and lengths stand, in _UNITs, at their places among n registers.

    Returns:
        The program; the n registers; and for the indices 0 ... n of numbers and lengths, 0 for the `<sep>`
        behind the numbers, numbers that are 0 where the token has this index and otherwise 1 or more.
    """
    size, n = task.vocabulary.size, task.n
    program = Program(size, task.max_length, constant=2.0**16)  # n numbers at once are a large content
    stands_for = np.maximum(np.arange(size) - SEP, 0)
    amount = program.of_token('amount', np.where(stands_for > n, stands_for - n, stands_for) / _UNIT)
    here = np.arange(task.max_length)
    index = np.where(here < n, here + 1, np.where(here <= 2 * n, here - n, -1))
    # An index is a code of a few registers: its inner product with that of another is smaller by a gap.
    code = Digits(n + 1)
    registers = [
        program.of_position(f'index.{i}', column)
        for i, column in enumerate((code.encode(index) * (index >= 0)[:, None]).T)
    ]
    places = [
        1 / code.gap * (code.match - sum(x * register for x, register in zip(point, registers, strict=True)))
        for point in code.encode(np.arange(n + 1))
    ]
    layer = program.layer()
    held = [layer.set(f'at {i}', only_where(amount, places[i], _most(task))) for i in range(1, n + 1)]
    return program, held, places


def _most(task: LongestIncreasingSubsequence) -> float:
    """Above all numbers and lengths, in _UNITs."""
    return (task.number_range - task.n) / _UNIT + 1


def _search_everything(
    program: Program, task: LongestIncreasingSubsequence, of: Plan, places, layer, numbers, lengths
) -> None:
    """Adds layers that find the largest length of a smaller number among all, and the logits.

    Args:
        program: the program.
        task: the task.
        of: its plan.
        places: see `_laid`.
        layer: a layer that can read the numbers and lengths.
        numbers: all numbers, in _UNITs.
        lengths: the lengths so far, in _UNITs, times n over how many positions they have taken so far. So a
            position's lengths have a scale of their own, on which they are no less than they are.
    """
    n, most = task.n, _most(task)
    here = np.arange(task.max_length)
    # For the answer every number is smaller than the next.
    following = Expression({program.of_position('no next number', most * of.is_answer): 1.0}, 0.0)
    for i, number in enumerate(numbers):
        following += only_where(number, places[i], most)  # the number after the one with this index
    following = layer.set('next number', following)
    layer = program.layer()
    is_larger = []
    for i, number in enumerate(numbers, 1):
        above = 2 * _UNIT * (number - following)
        is_larger.append(layer.set(f'is larger {i}', relu(above + 1.5) - relu(above + 0.5)))
    layer = program.layer()
    # What is read before the first length may be anything up to n times a number.
    none_yet = n / _BIT * program.of_position('no length yet', _BIT * (of.next == 1))
    smaller = [
        layer.set(f'smaller {i}', only_where(length, larger + none_yet, most))
        for i, (length, larger) in enumerate(zip(lengths, is_larger, strict=True), 1)
    ]
    largest = _UNIT * _largest(program, program.layer(), smaller)
    scale = n / np.maximum(here - n, 1)
    unit = program.of_position('scale', scale)
    one_more = program.of_position('one more', np.where(of.next > 0, scale, 0))
    for k in range(1, n + 1):
        program.write(SEP + k, 2 * k * (largest + one_more) - k**2 * unit)
    _write_ends(program, task, of)


def _names(name: str, bits: int) -> list[str]:
    return [*(f'{name} bit {i}' for i in range(bits)), f'{name} is a number']


def _begin(task: LongestIncreasingSubsequence) -> tuple[Program, Register, list[Register]]:
    """A program with the length in _UNITs that a token stands for, otherwise 0, and the bits of a number.

    Each bit is plus or minus _BIT; behind them stands _BIT for any number. For other tokens all are zero.
    """
    size = task.vocabulary.size
    program = Program(size, task.max_length)
    stands_for = np.arange(size) - SEP
    is_length, is_number = (stands_for > 0) & (stands_for <= task.n), stands_for > task.n
    length = program.of_token('length', np.where(is_length, stands_for / _UNIT, 0))
    code = [2 * ((stands_for - task.n - 1) >> i & 1) - 1 for i in range(num_bits(task))]
    names = _names('', len(code))
    bits = [
        program.of_token(name, _BIT * bit * is_number)
        for name, bit in zip(names, [*code, np.ones(size)], strict=True)
    ]
    return program, length, bits


def _largest(program: Program, layer, numbers: list[Register]) -> Register:
    """Adds layers, of which the first may be the given one, that compute the largest of some numbers."""
    level = 1
    while True:
        pairs = zip(numbers[::2], numbers[1::2], strict=False)
        larger = [layer.set(f'largest {level}.{i}', a + relu(b - a)) for i, (a, b) in enumerate(pairs)]
        if len(numbers) % 2:
            larger.append(numbers[-1])
        if len(larger) == 1:
            return larger[0]
        numbers, layer, level = larger, program.layer(), level + 1


def _write(program: Program, task: LongestIncreasingSubsequence, of: Plan, largest: Register) -> None:
    """Writes one more than the largest length of a smaller number, or as the answer the largest."""
    more = program.of_position('one more', of.next > 0)
    recurrence.write_number(program, range(SEP + 1, SEP + task.n + 1), 1, _UNIT * largest + more)
    _write_ends(program, task, of)


def _write_ends(program: Program, task: LongestIncreasingSubsequence, of: Plan) -> None:
    separator, end = (program.of_position(*flag) for flag in (('<sep>', of.is_separator), ('end', of.is_end)))
    recurrence.write_where(program, float(task.n + 1), {SEP: separator, EOS: end})
