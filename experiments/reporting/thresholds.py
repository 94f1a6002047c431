"""The width that a problem needs, from accuracies at a few widths, and how it grows; with intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

HYPOTHESES = {'0': 0.0, '1/4': 0.25, '1/2': 0.5}
"""Exponents of the width in the length that the paper's theorems and the bottleneck name."""

_CONFIDENCE = 0.95
_RESAMPLES = 2000


class Curve(NamedTuple):
    """Accuracies of one mechanism on problems of one size.

    Attributes:
        widths: growing, int `[widths]`.
        accuracy: `[seeds, widths]`, nan where a seed was not run.
    """

    widths: np.ndarray
    accuracy: np.ndarray


class Crossing(NamedTuple):
    """The width at which the isotonic regression of mean accuracy on width reaches a target.

    Attributes:
        width: interpolated linearly in accuracy over the logarithm of width; nan where it is only bounded.
        least, most: between which it lies; both `width` where that is known. From 0 to the least width tried
            where that one does already; from the greatest to infinity where none does; from 0 to the least
            that does where the mean falls so far short again above it that the regression does not.
    """

    width: float
    least: float
    most: float


class Needed(NamedTuple):
    """A crossing and its interval.

    Attributes:
        width, least, most: see `Crossing`.
        low, high: percentiles, 2.5 of `least` and 97.5 of `most`, of a bootstrap over seeds; where the mean
            falls short again, from the width that reaches the target to infinity. Of few seeds it covers less
            than 95% (of three some 70%), and of one nothing.
    """

    width: float
    least: float
    most: float
    low: float
    high: float


class Ratio(NamedTuple):
    """Of the width that one problem needs to that which another does.

    Attributes:
        value: nan where not both are known; then `low` or `high` is what their bounds leave.
        low, high: percentiles, 2.5 and 97.5, of a bootstrap over the seeds of both; 0 and infinite where more
            than 2.5% of resamples do not know one of the widths.
    """

    value: float
    low: float
    high: float


class Exponent(NamedTuple):
    """The slope of log width over log length.

    Attributes:
        value: by least squares over the sizes at which the width is known; nan where there are not two.
        low, high: 95%, from three sizes on: the hull of the bootstrap's interval over seeds and of Student's
            from what the line leaves unexplained. Infinite where there are fewer, or where more than 2.5% of
            resamples do not know the width at one of them.
        sizes: at how many it is known.
        verdict: the one hypothesis within the interval, 'inconclusive' where there are several or where the
            line misses the bound of a size whose width is only bounded, 'none' where there is none, and 'not
            known' without a value.
    """

    value: float
    low: float
    high: float
    sizes: int
    verdict: str


def crossing(curve: Curve, target: float) -> Crossing:
    """Where a curve reaches the target; widths at which no seed was run do not count."""
    tried = ~np.isnan(curve.accuracy).all(axis=0)
    if not tried.any():
        return Crossing(math.nan, 0.0, math.inf)
    widths, accuracy = curve.widths[tried], curve.accuracy[:, tried]
    fitted = isotonic(Curve(widths, accuracy))
    if fitted[-1] < target:
        reaching = np.nanmean(accuracy, axis=0) >= target
        if reaching.any():
            return Crossing(math.nan, 0.0, float(widths[np.argmax(reaching)]))
        return Crossing(math.nan, float(widths[-1]), math.inf)
    first = int(np.argmax(fitted >= target))
    if first == 0:
        return Crossing(math.nan, 0.0, float(widths[0]))
    share = (target - fitted[first - 1]) / (fitted[first] - fitted[first - 1])
    low, high = np.log(widths[first - 1]), np.log(widths[first])
    width = float(np.exp(low + share * (high - low)))
    return Crossing(width, width, width)


def isotonic(curve: Curve) -> np.ndarray:
    """The isotonic regression of mean accuracy on width, `[widths]`; at each some seed was run."""
    counts = np.sum(~np.isnan(curve.accuracy), axis=0)
    return optimize.isotonic_regression(np.nanmean(curve.accuracy, axis=0), weights=counts).x


def needed_width(curve: Curve, target: float, rng: np.random.Generator) -> Needed:
    """The width that a target needs, with its interval."""
    draws = _resampled(curve, target, rng)
    low, _ = _interval([draw.most if _falls_short_again(draw, curve) else draw.least for draw in draws])
    _, high = _interval([math.inf if _falls_short_again(draw, curve) else draw.most for draw in draws])
    return Needed(*crossing(curve, target), low, high)


def _falls_short_again(found: Crossing, curve: Curve) -> bool:
    return math.isnan(found.width) and curve.widths[0] < found.most < math.inf


def ratio(curve: Curve, to: Curve, target: float, rng: np.random.Generator) -> Ratio:
    """How much wider the problem of `curve` needs a model to be than that of `to`."""
    wide, base = crossing(curve, target), crossing(to, target)
    value = wide.width / base.width
    if math.isnan(value):
        high = wide.most / base.least if base.least else math.inf
        return Ratio(math.nan, wide.least / base.most, high)
    draws = np.array([
        [draw.width for draw in _resampled(c, target, rng)] for c in (curve, to)
    ])  # fmt: skip
    low, high = _interval_of_known(draws[0] / draws[1])
    return Ratio(value, max(low, 0.0), high)


def exponent(
    lengths: Sequence[float], curves: Sequence[Curve], target: float, rng: np.random.Generator
) -> Exponent:
    """How the needed width grows with length.

    Sizes at which it is only bounded say nothing exact and are left out. That biases the slope towards 0
    where it is the large or the small sizes: say how many are left. Where the line would have the width of
    one of them beyond its bounds, it is not taken for an answer.
    """
    found = [crossing(curve, target) for curve in curves]
    known = [i for i, at in enumerate(found) if not math.isnan(at.width)]
    x = np.log([lengths[i] for i in known])
    if len(set(x)) < 2:
        return Exponent(math.nan, -math.inf, math.inf, len(known), 'not known')
    fit = stats.linregress(x, np.log([found[i].width for i in known]))
    low, high = -math.inf, math.inf
    if len(known) > 2:
        margin = fit.stderr * stats.t.ppf((1 + _CONFIDENCE) / 2, len(known) - 2)
        draws = np.transpose([[draw.width for draw in _resampled(curves[i], target, rng)] for i in known])
        centred = x - x.mean()
        low, high = _interval_of_known(np.log(draws) @ centred / (centred @ centred))
        low, high = min(low, fit.slope - margin), max(high, fit.slope + margin)
    line = np.exp(fit.intercept + fit.slope * np.log(lengths))
    off = any(
        not at.least <= on_line <= at.most
        for at, on_line in zip(found, line, strict=True)
        if math.isnan(at.width)
    )
    verdict = 'inconclusive' if off else _verdict(low, high)
    return Exponent(float(fit.slope), float(low), float(high), len(known), verdict)


def _verdict(low: float, high: float) -> str:
    within = [name for name, value in HYPOTHESES.items() if low <= value <= high]
    return within[0] if len(within) == 1 else 'inconclusive' if within else 'none'


def _resampled(curve: Curve, target: float, rng: np.random.Generator) -> list[Crossing]:
    """Crossings of curves made of seeds drawn with replacement; each selection is computed once."""
    seeds = len(curve.accuracy)
    draws = np.sort(rng.integers(seeds, size=(_RESAMPLES, seeds)), axis=1)
    cache: dict[tuple, Crossing] = {}
    for draw in map(tuple, draws.tolist()):
        if draw not in cache:
            cache[draw] = crossing(Curve(curve.widths, curve.accuracy[list(draw)]), target)
    return [cache[draw] for draw in map(tuple, draws.tolist())]


def _interval_of_known(values: np.ndarray) -> tuple[float, float]:
    """Percentiles; open where more than a tail of the values are nan."""
    known = values[~np.isnan(values)]
    enough = len(known) >= (1 + _CONFIDENCE) / 2 * len(values)
    return _interval(known) if enough else (-math.inf, math.inf)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Percentiles; of values that may be infinite, so none between two is taken."""
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method='inverted_cdf')
    return float(low), float(high)
