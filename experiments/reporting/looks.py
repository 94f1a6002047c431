"""The colour and marker of a mechanism: the same in every figure and every sweep.

The family of a mechanism decides hue and marker; the size of its blocks or its window, and its other options,
decide the shade.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from effxf_jax.attention import MECHANISMS, span_options
from experiments.reporting.records import GridRecord

GREY = '#6b7280'

MARKERS = ('circle', 'square', 'diamond', 'cross', 'pentagon', 'star', 'hexagon', 'octagon')


class Look(NamedTuple):
    """How the series of a mechanism are drawn: a colour as #rrggbb and the name of a marker."""

    colour: str
    marker: str


_FAMILIES = {
    'standard': Look('#0072b2', 'circle'),
    'linear': Look('#d55e00', 'square'),
    'sparse': Look('#009e73', 'diamond'),
    'sparse strided': Look('#b5579c', 'cross'),
    'sliding_window': Look('#d99a00', 'pentagon'),
    'mixture': Look('#4b4453', 'star'),
}
# Families without a row above take one of these, by their place among the mechanisms, or by their name.
_OTHERS = ('#2aa5d8', '#8a8a2e', '#882255', '#5b4fc4', '#a65628', '#e0607e', '#117733')

_SPAN_SHADES = {2: 0.55, 4: 0.4, 8: 0.0, 16: -0.35, 32: -0.55, 64: -0.7}
"""By the size of blocks or windows: the share of white in the colour or, if negative, of black."""

_OPTION_SHADES = (0.35, -0.3, 0.5, -0.5)


def look_of(mechanism: str) -> Look:
    """The look of an axis value such as `mechanism=sparse,block_size=8,learning_rate=0.016`."""
    fields = dict(part.partition('=')[::2] for part in mechanism.split(','))
    fields.pop('learning_rate', None)
    family = fields.pop('mechanism', mechanism)
    if '+' in family:
        fields['parts'] = family
        family = 'mixture'
    if fields.get('pattern') == 'strided':
        family = f'{family} {fields.pop("pattern")}'
    colour, marker = _FAMILIES.get(family) or _look_without_a_row(family)
    span = GridRecord.span(mechanism)
    for name in span_options():
        fields.pop(name, None)
    if span:
        colour = _shaded(colour, _SPAN_SHADES.get(span, -0.8 if span > 64 else 0.2))
    if fields:
        options = ','.join(f'{name}={value}' for name, value in sorted(fields.items()))
        colour = _shaded(colour, _OPTION_SHADES[_number(options) % len(_OPTION_SHADES)])
    return Look(colour, marker)


def _look_without_a_row(family: str) -> Look:
    """Another look for each of the first mechanisms without a row; by name, for what is not a mechanism."""
    others = [name for name in MECHANISMS if name not in _FAMILIES]
    if family in others:
        place = others.index(family)
        return Look(_OTHERS[place % len(_OTHERS)], MARKERS[-1 - place % len(MARKERS)])
    return Look(_OTHERS[_number(family) % len(_OTHERS)], MARKERS[_number(family, 'marker') % len(MARKERS)])


def family_look(mechanism: str) -> Look:
    """The look of a mechanism whatever the size of its blocks or window."""
    parts = mechanism.split(',')
    return look_of(','.join(part for part in parts if part.partition('=')[0] not in span_options()))


def looks_of(mechanisms: Sequence[str]) -> Mapping[str, Look]:
    """The looks of the mechanisms of a figure; where two are the same, the later one has another marker."""
    looks = {}
    for mechanism in mechanisms:
        colour, marker = look_of(mechanism)
        free = [m for m in (marker, *MARKERS) if Look(colour, m) not in looks.values()]
        looks[mechanism] = Look(colour, (free or [marker])[0])
    return looks


def _number(*words: str) -> int:
    """The same number for the same words in every process."""
    return zlib.crc32(' '.join(words).encode())


def _shaded(colour: str, share: float) -> str:
    """A colour with this share of white or, if negative, of black."""
    end = 255 if share > 0 else 0
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return '#' + ''.join(f'{round(part + abs(share) * (end - part)):02x}' for part in parts)
