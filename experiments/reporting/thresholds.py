"""The width that a problem needs, from accuracies at a few widths, and how it grows; with intervals."""

import math
from collections.abc import Mapping, Sequence
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


class Needed(NamedTuple):
    """The width at which accuracy reaches a target.

    Attributes:
        width: infinite where no width tried reaches it; the least one tried where that does already.
        low, high: percentiles, 2.5 and 97.5, of a bootstrap over seeds. Of few seeds it covers less than 95%
            (of three some 70%), and of one nothing.
        least_tried: whether `width` is no more than an upper bound, the least width tried.
    """

    width: float
    low: float
    high: float
    least_tried: bool


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


def crossing(curve: Curve, target: float) -> float:
    """The width at which the isotonic regression of mean accuracy on width reaches the target.

    Interpolated linearly in accuracy over the logarithm of width; infinite where it never does.
    """
    tried = ~np.isnan(curve.accuracy).all(axis=0)
    if not tried.any():
        return math.inf
    widths = curve.widths[tried]
    fitted = isotonic(Curve(widths, curve.accuracy[:, tried]))
    if fitted[-1] < target:
        return math.inf
    first = int(np.argmax(fitted >= target))
    if first == 0:
        return float(widths[0])
    share = (target - fitted[first - 1]) / (fitted[first] - fitted[first - 1])
    low, high = np.log(widths[first - 1]), np.log(widths[first])
    return float(np.exp(low + share * (high - low)))


def isotonic(curve: Curve) -> np.ndarray:
    """The isotonic regression of mean accuracy on width, `[widths]`; at each some seed was run."""
    counts = np.sum(~np.isnan(curve.accuracy), axis=0)
    return optimize.isotonic_regression(np.nanmean(curve.accuracy, axis=0), weights=counts).x


def needed_width(curve: Curve, target: float, rng: np.random.Generator) -> Needed:
    """The width that a target needs, with its interval."""
    width = crossing(curve, target)
    low, high = _interval(_resampled(curve, target, rng))
    return Needed(width, low, high, width == curve.widths[0])


def ratio(curve: Curve, to: Curve, target: float, rng: np.random.Generator) -> Ratio:
    """How much wider the problem of `curve` needs a model to be than that of `to`."""
    width, base = crossing(curve, target), crossing(to, target)
    value = _exact(width, curve) / _exact(base, to)
    if math.isnan(value):
        least, most = _bounds(width, curve), _bounds(base, to)
        return Ratio(math.nan, least[0] / most[1], least[1] / most[0] if most[0] else math.inf)
    draws = np.array([
        [_exact(drawn, c) for drawn in _resampled(c, target, rng)] for c in (curve, to)
    ])  # fmt: skip
    low, high = _interval_of_known(draws[0] / draws[1])
    return Ratio(value, max(low, 0.0), high)


def _bounds(width: float, curve: Curve) -> tuple[float, float]:
    """Between which a width lies, as far as it is known."""
    if math.isinf(width):
        return float(curve.widths[-1]), math.inf
    return (0.0, width) if width == curve.widths[0] else (width, width)


def exponent(
    lengths: Sequence[float], curves: Sequence[Curve], target: float, rng: np.random.Generator
) -> Exponent:
    """How the needed width grows with length.

    Sizes at which no width reaches the target, or the least one tried does, say nothing exact and are left
    out. That biases the slope towards 0 where it is the large or the small sizes: say how many are left.
    Where the line would have the width of one of them known, it is not taken for an answer.
    """
    widths = [crossing(curve, target) for curve in curves]
    known = [i for i, width in enumerate(widths) if not math.isnan(_exact(width, curves[i]))]
    x = np.log([lengths[i] for i in known])
    if len(set(x)) < 2:
        return Exponent(math.nan, -math.inf, math.inf, len(known), 'not known')
    fit = stats.linregress(x, np.log([widths[i] for i in known]))
    low, high = -math.inf, math.inf
    if len(known) > 2:
        margin = fit.stderr * stats.t.ppf((1 + _CONFIDENCE) / 2, len(known) - 2)
        draws = np.transpose([
            [_exact(width, curves[i]) for width in _resampled(curves[i], target, rng)] for i in known
        ])  # fmt: skip
        centred = x - x.mean()
        low, high = _interval_of_known(np.log(draws) @ centred / (centred @ centred))
        low, high = min(low, fit.slope - margin), max(high, fit.slope + margin)
    bounded = [i for i in range(len(curves)) if i not in known]
    line = [math.exp(fit.intercept + fit.slope * math.log(lengths[i])) for i in bounded]
    off = any(
        at < curves[i].widths[-1] if math.isinf(widths[i]) else at > widths[i]
        for i, at in zip(bounded, line, strict=True)
    )
    verdict = 'inconclusive' if off else _verdict(low, high)
    return Exponent(float(fit.slope), float(low), float(high), len(known), verdict)


def _verdict(low: float, high: float) -> str:
    within = [name for name, value in HYPOTHESES.items() if low <= value <= high]
    return within[0] if len(within) == 1 else 'inconclusive' if within else 'none'


def _exact(width: float, curve: Curve) -> float:
    """A width as it is known, or nan where it is only bounded."""
    return width if curve.widths[0] < width < math.inf else math.nan


def _resampled(curve: Curve, target: float, rng: np.random.Generator) -> list[float]:
    """Crossings of curves made of seeds drawn with replacement; each selection is computed once."""
    seeds = len(curve.accuracy)
    draws = np.sort(rng.integers(seeds, size=(_RESAMPLES, seeds)), axis=1)
    cache: Mapping[tuple, float] = {}
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
