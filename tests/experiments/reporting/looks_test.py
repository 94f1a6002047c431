"""A mechanism has the same look in every figure, and the series of a figure can be told apart."""

import colorsys
import itertools

import pytest

from effxf_jax.attention import MECHANISMS
from experiments.reporting.looks import look_of, looks_of
from experiments.sweeps import (
    figure1,
    learning_rates,
    locality,
    min_width,
    rate_transfer,
    studies,
)

SWEEPS = (figure1, learning_rates, locality, min_width, rate_transfer, studies)


def hue(colour):
    return colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0]


def distance(*colours):
    one, other = ([int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours)
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope='module')
def grids():
    return [dict(grid.axes)['mechanism'] for sweep in SWEEPS for grid in sweep.get_config().grids.values()]


def test_a_mechanism_has_one_colour_in_all_sweeps_whatever_stands_beside_it(grids):
    colours = {}
    for mechanisms in grids:
        for mechanism, look in looks_of(mechanisms).items():
            name = ','.join(part for part in mechanism.split(',') if not part.startswith('learning_rate'))
            assert colours.setdefault(name, look.colour) == look.colour
    assert len(colours) > 10


def test_the_mechanisms_that_a_sweep_compares_differ_in_colour(grids):
    for mechanisms in grids:
        colours = [look.colour for look in looks_of(mechanisms).values()]
        for one, other in itertools.combinations(colours, 2):
            assert distance(one, other) > 60, mechanisms


@pytest.mark.parametrize('family', ['sparse', 'sparse,pattern=strided', 'sliding_window'])
def test_the_size_of_a_span_changes_the_shade_and_not_the_hue_or_the_marker(family):
    option = 'window' if family == 'sliding_window' else 'block_size'
    looks = [look_of(f'mechanism={family},{option}={span}') for span in (4, 8, 16)]
    assert [hue(look.colour) for look in looks] == pytest.approx([hue(looks[0].colour)] * 3, abs=0.01)
    brightness = [distance(look.colour, '#000000') for look in looks]
    assert brightness[0] > brightness[1] > brightness[2]
    assert len({look.marker for look in looks}) == 1


def test_mechanisms_without_a_row_of_their_own_differ_in_their_looks():
    looks = looks_of([f'mechanism=new-{number}' for number in range(30)])
    assert len(set(looks.values())) == 30


def test_the_next_mechanisms_differ_in_colour_and_marker(monkeypatch):
    names = ['gated_linear', 'delta', 'block_routing', 'lsh', 'gated_delta', 'log_linear']
    for name in names:
        monkeypatch.setitem(MECHANISMS, name, MECHANISMS['standard'])
    looks = [look_of(f'mechanism={name}') for name in names]
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == len(names)
