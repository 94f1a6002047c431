"""Where a number of a step may come from: the question, an earlier result, or what everybody knows.

Numbers are compared by value and without sign: `50-10` uses the result of `20-30=-10`.
"""

from fractions import Fraction

from effxf_jax.dependencies import Place

MOST_PLACES = 16
"""Of more places with one value, the first and the latest ones are kept, so that no text takes long."""

_CONVERSIONS = {
    7: 'days in a week', 12: 'months in a year', 16: 'ounces in a pound', 24: 'hours in a day',
    30: 'days in a month', 31: 'days in a month', 52: 'weeks in a year', 60: 'minutes in an hour',
    100: 'hundredths in a whole', 365: 'days in a year', 366: 'days in a leap year', 1000: 'thousands',
    1440: 'minutes in a day', 2000: 'pounds in a ton', 3600: 'seconds in an hour', 5280: 'feet in a mile',
    Fraction(1, 100): 'a percent', Fraction(1, 1000): 'thousandths',
}  # fmt: skip
"""A common meaning by value. Smaller numbers, such as 3 for the feet in a yard, could mean anything."""


class Known:
    """The places of the values that a reader has met so far."""

    def __init__(self):
        self._places: dict[Fraction, list[Place]] = {}

    def add(self, value: Fraction, place: Place) -> None:
        """Adds a value that stands after all that were added before."""
        places = self._places.setdefault(abs(value), [])
        if place in places[-1:]:
            return
        if len(places) == MOST_PLACES:
            del places[1]
        places.append(place)

    def origins(self, value: Fraction) -> tuple[Place, ...]:
        """The places of a value, from the first to the latest; none where it was never met."""
        return tuple(self._places.get(abs(value), ()))


def conversion(value: Fraction) -> str | None:
    """What a number is commonly known as, such as 'minutes in an hour' for 60; None for others."""
    return _CONVERSIONS.get(abs(value))
