"""A factory's signature declares its options; values are checked and cast once, for every table."""

from typing import Optional

import numpy as np
import pytest

from effxf_jax import registry
from effxf_jax.registry import Option


def make(
    size: int = 4, rate: float = 0.5, name: str = 'a', shape: tuple[int, ...] = (), most: int | None = None
):
    return size, rate, name, shape, most


def make_other(size: int = 8, flag: bool = False):
    return size, flag


def test_options_are_read_from_the_signature():
    assert list(registry.options(make).values()) == [
        Option('size', 4, int, False),
        Option('rate', 0.5, float, False),
        Option('name', 'a', str, False),
        Option('shape', (), tuple, False),
        Option('most', None, int, True),
    ]


def test_annotations_may_be_text_optional_or_missing():
    def written(size: 'int' = 3, most: Optional[float] = None, plain=2.0):  # noqa: UP045
        return size, most, plain

    kinds = [(option.type, option.optional) for option in registry.options(written).values()]
    assert kinds == [(int, False), (float, True), (float, False)]

    def untyped(unknown=None):
        return unknown

    with pytest.raises(TypeError, match='parameter unknown must have an annotation'):
        registry.options(untyped)


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('rate', 1, 1.0),
        ('size', np.int64(3), 3),
        ('shape', [1, 2], (1, 2)),
        ('most', None, None),
        ('rate', np.float32(0.5), 0.5),
    ],
)
def test_values_are_cast_where_nothing_is_lost(name, value, expected):
    cast = registry.options(make)[name].cast(value)
    assert cast == expected
    assert type(cast) is type(expected)


@pytest.mark.parametrize(
    ('name', 'value', 'kind'),
    [
        ('size', 2.5, 'int'),
        ('size', True, 'int'),
        ('size', '8', 'int'),
        ('size', None, 'int'),
        ('rate', 'fast', 'float'),
        ('name', 3, 'str'),
        ('shape', 3, 'tuple'),
    ],
)
def test_values_of_another_type_are_refused_by_name(name, value, kind):
    with pytest.raises(ValueError, match=f'{name} must be of type {kind}; got '):
        registry.options(make)[name].cast(value)


def test_a_value_that_cannot_be_hashed_is_refused():
    with pytest.raises(ValueError, match=r'shape must be hashable; got \(\[1\],\)'):
        registry.options(make)['shape'].cast(([1],))


def test_an_option_with_two_defaults_must_be_given_and_then_holds_for_both():
    table = {'one': make, 'other': make_other}
    with pytest.raises(ValueError, match='size must be given: its defaults differ between the parts of both'):
        registry.option_values('both', table, {})
    for size in 4, 8, 6:
        values = registry.option_values('both', table, {'size': size})
        assert values['size'] == size
        assert dict(registry.changed_options(table, values)) == {'size': size}
    assert (
        registry.changed_options({'one': make}, registry.option_values('one', {'one': make}, {'size': 4}))
        == ()
    )


def test_every_wrong_option_is_named():
    with pytest.raises(ValueError) as error:
        registry.option_values('one', {'one': make}, {'flag': True, 'size': 'x'})
    assert 'flag is not an option of one (options: size, rate, name, shape, most); got flag=True' in str(
        error.value
    )
    assert "size must be of type int; got 'x'" in str(error.value)


def test_options_that_would_break_others_are_refused_where_the_table_is_read():
    def required(buckets: int):
        return buckets

    def of_text(size: str = 'large'):
        return size

    for table, reserved, message in (
        ({'hashing': required}, (), 'hashing: the option buckets must have a default'),
        ({'one': make, 'wide': of_text}, (), 'wide: the option size is of type str here and int elsewhere'),
        ({'one': make}, ('rate',), 'one: an option cannot be called rate, as a field beside it is'),
    ):
        with pytest.raises(TypeError, match=message):
            registry.merged_options(table, reserved)


def test_first_defaults_outlive_a_change(monkeypatch):
    monkeypatch.setitem(registry.FIRST_DEFAULTS, 'one.size', 2)
    assert registry.first_defaults('one', make)['size'] == 2
    assert registry.usual_options({'one': make})['size'] == 2
    assert registry.defaults(make)['size'] == 4
