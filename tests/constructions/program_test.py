"""The parts of the language do what they say in the compiled model, over their ranges."""

import numpy as np
import pytest

from effxf_jax.constructions import compiler, interpreter
from effxf_jax.constructions.program import (
    Address,
    ConstructionError,
    Digits,
    Expression,
    OneHot,
    Program,
    relu,
)

VOCABULARY, LENGTH = 101, 40
NUMBERS = np.arange(VOCABULARY) - 50.0
CAUSAL = np.tri(LENGTH, dtype=bool)


def begin():
    """A program whose tokens are the numbers -50 ... 50."""
    program = Program(VOCABULARY, LENGTH)
    return program, program.of_token('number', NUMBERS)


def held(program, register, mechanism='standard', seed=0, **options):
    """A register in the compiled model after the layer that writes it, and what the interpreter says."""
    for token in range(2):
        program.write(token, register * 1.0)
    tokens = np.random.default_rng(seed).integers(VOCABULARY, size=LENGTH)
    compiled = compiler.compile_program(program, mechanism, options)
    trace = interpreter.run(program, tokens, CAUSAL)
    return compiler.streams(compiled, tokens)[register][0], trace.registers[register], NUMBERS[tokens]


def test_an_update_is_its_piecewise_linear_function():
    program, number = begin()
    value = 2 * number - 3 * relu(number - 7) + relu(4 - number) + 5
    actual, computed, numbers = held(program, program.layer().set('value', value))
    expected = 2 * numbers - 3 * np.maximum(numbers - 7, 0) + np.maximum(4 - numbers, 0) + 5
    np.testing.assert_allclose(computed, expected)
    np.testing.assert_allclose(actual, expected, atol=0.02)


def test_a_copy_is_exact_for_fractions_too():
    program = Program(VOCABULARY, LENGTH)
    fraction = program.of_token('fraction', NUMBERS / 77)
    actual, _, numbers = held(program, program.layer().set('copy', fraction))
    np.testing.assert_allclose(actual, numbers / 77, atol=1e-3)


def test_what_nothing_reads_any_more_gives_its_coordinate_to_another():
    program, number = begin()
    chain = [number]
    for i in range(8):
        chain.append(program.layer().set(f'step {i}', chain[-1] + 1))
    actual, _, numbers = held(program, chain[-1])
    np.testing.assert_allclose(actual, numbers + 8, atol=0.05)
    compiled = compiler.compile_program(program, 'standard')
    assert len(set(compiled.coordinates.values())) == 1
    assert len(compiled.coordinates) == 9


@pytest.mark.parametrize('size', [2, 31, 32, 33, 1000, 1024, 40_000])
def test_digits_tell_all_addresses_apart_by_the_gap(size):
    code = Digits(size)
    near = np.unique(np.clip(np.r_[0:200, size // 2 : size // 2 + 200, size - 200 : size], 0, size - 1))
    products = code.encode(near) @ code.encode(near).T
    equal = np.diagonal(products)
    others = products - np.diag(np.full(len(near), np.inf))
    assert np.allclose(equal, equal[0])
    assert (equal[:, None] - others >= code.gap - 1e-9).all()
    assert code.encode(near).shape == (len(near), code.width)
    assert code.width == {2: 2, 31: 2, 32: 2, 33: 4, 1000: 4, 1024: 4, 40_000: 8}[size]


@pytest.mark.parametrize('seed', range(3))
def test_a_lookup_by_digits_reads_the_position(seed):
    program, number = begin()
    places = np.random.default_rng(seed).integers(np.arange(LENGTH) + 1)
    code = Digits(LENGTH)
    here = program.address('here', code, np.arange(LENGTH))
    there = program.address('there', code, places)
    (found,) = program.layer().look_up(there, here, [3 * number + 1], ['found'])
    actual, computed, numbers = held(program, found, seed=seed)
    np.testing.assert_allclose(computed, 3 * numbers[places] + 1)
    np.testing.assert_allclose(actual, 3 * numbers[places] + 1, atol=0.05)


def test_a_lookup_by_one_hot_is_the_mean_of_all_that_have_the_key():
    program, number = begin()
    slots = np.arange(LENGTH) % 3
    key = program.address('slot', OneHot(3), slots)
    (found,) = program.layer().look_up(key, key, [number], ['found'], factor=2.0)
    actual, _, numbers = held(program, found, 'linear')
    expected = [2 * numbers[: t + 1][slots[: t + 1] == slots[t]].mean() for t in range(LENGTH)]
    np.testing.assert_allclose(actual, expected, atol=0.05)


def test_the_youngest_overwrites_the_others_and_no_address_is_not_found():
    program, number = begin()
    row, slots = np.arange(LENGTH) // 4, np.arange(LENGTH) % 4
    slots = np.where(slots == 3, -1, slots)
    key = program.address('slot', OneHot(3), slots)
    query = program.address('query', OneHot(3), (np.arange(LENGTH) + 1) % 3)
    age = program.of_position('age', row.max() - row)
    (found,) = program.layer().look_up(query, key, [number], ['found'], age=age, change=100.0)
    actual, computed, numbers = held(program, found, 'linear')
    for t in range(8, LENGTH):
        latest = max(s for s in range(t + 1) if slots[s] == (t + 1) % 3)
        assert computed[t] == numbers[latest]
        assert actual[t] == pytest.approx(numbers[latest], abs=0.1)


def test_an_overlap_counts_positions_as_often_as_they_share_features_and_reads_zero_without_any():
    program, number = begin()
    rng = np.random.default_rng(0)
    wanted, had = (rng.random((LENGTH, 5)) < 0.3 for _ in range(2))
    wanted[7:12] = False
    flags = lambda name, x: [program.of_position(f'{name} {i}', 16.0 * ~x[:, i]) for i in range(5)]
    query, key = ([1 / 16 * flag for flag in flags(*side)] for side in (('wanted', wanted), ('had', had)))
    (found,) = program.layer().overlap(query, key, [number], ['found'], factor=2.0)
    actual, computed, numbers = held(program, found, 'linear')
    for t in range(LENGTH):
        shared = np.array([wanted[t] & had[s] for s in range(t + 1)]).sum(axis=1)
        mean = np.average(numbers[: t + 1], weights=shared) if shared.any() else 0.0
        assert computed[t] == pytest.approx(2 * mean)
        assert actual[t] == pytest.approx(2 * mean, abs=0.1)


def test_a_write_replaces_its_row_of_a_table_and_a_read_sums_rows():
    program, number = begin()
    rng = np.random.default_rng(0)
    written, wanted = rng.integers(4, size=LENGTH), rng.integers(4, size=LENGTH)
    written[:4] = range(4)  # every row is there before it is read
    idle = rng.random(LENGTH) < 0.4
    idle[:4] = False
    key, one = (
        program.address(*side).choice() for side in (('to', OneHot(4), written), ('at', OneHot(4), wanted))
    )
    layer = program.layer()
    still = program.of_position('idle', idle)
    (row,) = layer.recall(one, key, [number], ['row'], idle=still)
    (all_rows,) = layer.recall([Expression({}, 1.0)] * 4, key, [number], ['all'], idle=still, rows=4)
    program.write(2, row + all_rows)
    actual, computed, numbers = held(program, row, 'delta', gate='off')
    actual_sum, computed_sum, _ = held(program, all_rows, 'delta', gate='off')
    table = np.zeros(4)
    for t in range(LENGTH):
        if not idle[t]:
            table[written[t]] = numbers[t]
        if t >= 4:
            assert computed[t] == table[wanted[t]]
            assert actual[t] == pytest.approx(table[wanted[t]], abs=0.05)
            assert computed_sum[t] == table.sum()
            assert actual_sum[t] == pytest.approx(table.sum(), abs=0.05)


def test_what_a_program_may_not_do_is_refused():
    program, number = begin()
    layer = program.layer()
    with pytest.raises(ConstructionError, match='relu takes an affine expression'):
        relu(relu(number))
    address = program.address('a', OneHot(2), np.zeros(LENGTH, int))
    with pytest.raises(ConstructionError, match='attention reads affine expressions'):
        layer.look_up(address, address, [relu(number)], ['x'])
    with pytest.raises(ConstructionError, match='must have the same code'):
        layer.look_up(address, program.address('b', OneHot(3), np.zeros(LENGTH, int)), [number], ['x'])
    for add in layer.overlap, layer.recall:
        with pytest.raises(ConstructionError, match='a query of 1 numbers and a key of 2 have no score'):
            add([number], [number, number], [number], ['x'])
    with pytest.raises(ConstructionError, match=r'short must have 101 values; got shape \(3,\)'):
        program.of_token('short', np.zeros(3))
    program.write(0, layer.set('y', layer.set('x', number) + 1))
    with pytest.raises(ConstructionError, match='x is read where it is written; use the next layer'):
        compiler.compile_program(program, 'standard')
    program, number = begin()
    copy = program.layer().set('copy', number)
    with pytest.raises(ConstructionError, match='no weights are written for gate of delta attention'):
        held(program, copy, 'delta')
    program = Program(VOCABULARY, LENGTH)
    first = program.layer()
    program.write(0, first.set('early', program.layer().set('late', Expression({}, 1.0))))
    with pytest.raises(ConstructionError, match='late is read before it is written'):
        compiler.compile_program(program, 'standard')


def test_a_lookup_that_finds_nothing_is_an_error_of_the_interpreter():
    program, number = begin()
    code = Digits(2 * LENGTH)
    here = program.address('here', code, np.arange(LENGTH))
    later = program.address('later', code, np.arange(LENGTH) + 1)
    program.layer().look_up(later, here, [number], ['found'])
    with pytest.raises(ConstructionError, match='layer 0: the lookup of found finds nothing at position 0'):
        interpreter.run(program, np.zeros(LENGTH, int), CAUSAL)


def test_addresses_equal_as_arrays_share_their_registers():
    program, _ = begin()
    one, other = (program.address(name, OneHot(2), np.arange(LENGTH) % 2) for name in 'ab')
    assert isinstance(one, Address)
    assert one.registers == other.registers
