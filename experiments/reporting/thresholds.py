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
        low, high: a percentile bootstrap interval over seeds, of 95%.
        least_tried: whether `width` is no more than an upper bound, the least width tried.
    """

    width: float
    low: float
    high: float
    least_tried: bool


class Exponent(NamedTuple):
    """The slope of log width over log length.

    Attributes:
        value: by least squares over the sizes at which the width is known.
        low, high: 95%: the hull of the bootstrap's interval over seeds and, from three sizes on, of Student's
            interval from what the line leaves unexplained.
        sizes: how many there are.
        verdict: the one hypothesis within the interval, 'inconclusive' where there are several, or 'none'.
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
    counts = np.sum(~np.isnan(curve.accuracy), axis=0)
    tried = counts > 0
    if not tried.any():
        return math.inf
    means = np.nanmean(curve.accuracy[:, tried], axis=0)
    fitted = optimize.isotonic_regression(means, weights=counts[tried]).x
    widths = curve.widths[tried]
    if fitted[-1] < target:
        return math.inf
    first = int(np.argmax(fitted >= target))
    if first == 0:
        return float(widths[0])
    share = (target - fitted[first - 1]) / (fitted[first] - fitted[first - 1])
    low, high = np.log(widths[first - 1]), np.log(widths[first])
    return float(np.exp(low + share * (high - low)))


def needed_width(curve: Curve, target: float, rng: np.random.Generator) -> Needed:
    """The width that a target needs, with its interval."""
    width = crossing(curve, target)
    low, high = _interval(_resampled(curve, target, rng))
    return Needed(width, low, high, width == curve.widths[0])


def exponent(
    lengths: Sequence[float], curves: Sequence[Curve], target: float, rng: np.random.Generator
) -> Exponent | None:
    """How the needed width grows with length; None where it is known at fewer than two sizes.

    Sizes at which no width reaches the target, or the least one tried does, say nothing exact and are left
    out, here and in each resample.
    """
    points = [_exact(crossing(curve, target), curve) for curve in curves]
    known = [i for i, width in enumerate(points) if not math.isnan(width)]
    if len(known) < 2:
        return None
    x = np.log([lengths[i] for i in known])
    y = np.log([points[i] for i in known])
    fit = stats.linregress(x, y)
    draws = np.array([
        [_exact(width, curves[i]) for width in _resampled(curves[i], target, rng)] for i in known
    ]).T  # fmt: skip
    slopes = [_slope(x, np.log(row)) for row in draws if np.sum(~np.isnan(row)) >= 2]
    low, high = _interval([slope for slope in slopes if not math.isnan(slope)] or [fit.slope])
    if len(known) > 2:
        margin = fit.stderr * stats.t.ppf((1 + _CONFIDENCE) / 2, len(known) - 2)
        low, high = min(low, fit.slope - margin), max(high, fit.slope + margin)
    return Exponent(float(fit.slope), float(low), float(high), len(known), _verdict(low, high))


def _verdict(low: float, high: float) -> str:
    within = [name for name, value in HYPOTHESES.items() if low <= value <= high]
    return within[0] if len(within) == 1 else 'inconclusive' if within else 'none'


def _exact(width: float, curve: Curve) -> float:
    """A width as it is known, or nan where it is only bounded."""
    return width if curve.widths[0] < width < math.inf else math.nan


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    known = ~np.isnan(y)
    return stats.linregress(x[known], y[known]).slope


def _resampled(curve: Curve, target: float, rng: np.random.Generator) -> list[float]:
    """Crossings of curves made of seeds drawn with replacement; each selection is computed once."""
    seeds = len(curve.accuracy)
    draws = np.sort(rng.integers(seeds, size=(_RESAMPLES, seeds)), axis=1)
    cache: Mapping[tuple, float] = {}
    for draw in map(tuple, draws.tolist()):
        if draw not in cache:
            cache[draw] = crossing(Curve(curve.widths, curve.accuracy[list(draw)]), target)
    return [cache[draw] for draw in map(tuple, draws.tolist())]


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Percentiles; of values that may be infinite, so none between two is taken."""
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method='inverted_cdf')
    return float(low), float(high)
