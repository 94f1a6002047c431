"""The width that a problem needs, from accuracies at a few widths, and how it grows; with intervals.

Intervals are bootstraps over seeds. If a resample only bounds the width, its lower bound counts for the
interval's lower end and its upper bound for the upper end, so an end may be 0 or infinite.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

HYPOTHESES = {'0': 0.0, '1/4': 0.25, '1/2': 0.5}
"""Exponents of the width in the length that the paper's theorems and the bottleneck name."""

_TAIL = 0.025
# Up to these numbers, all resamples of a curve and all combinations of several curves' resamples are used:
# seven seeds or fewer, and five curves of three seeds. Above, this many are drawn at random.
_MOST_RESAMPLES = 2_000
_MOST_CHOICES = 100_000


class Curve(NamedTuple):
    """Accuracies of one mechanism on problems of one size.

    Attributes:
        widths: increasing widths, int `[widths]`.
        accuracy: accuracies, `[seeds, widths]`; nan where a seed was not run.
    """

    widths: np.ndarray
    accuracy: np.ndarray


class Crossing(NamedTuple):
    """The width at which the isotonic regression of mean accuracy on width reaches a target.

    Attributes:
        width: the crossing, interpolated linearly in accuracy over the logarithm of width; nan if it is only
            bounded.
        least, most: bounds of the crossing; both equal `width` if it is known. If the least width tried
            reaches the target, the bounds are 0 and this width; if no width does, they are the greatest
            width tried and infinity.
        lost_above: nan, except where the mean reaches the target at this width, but falls so far short of it
            at greater widths that the regression does not reach it. Then `least` is the width tried below
            this one, or 0, and `most` is infinite.
    """

    width: float
    least: float
    most: float
    lost_above: float = math.nan


class Interval(NamedTuple):
    """A 95% bootstrap interval over seeds: the 2.5th percentile of lower bounds, the 97.5th of upper bounds.

    With few seeds it covers less: about 70% with three, nothing with one.
    """

    low: float
    high: float


class Ratio(NamedTuple):
    """The ratio of the widths that two problems need.

    Attributes:
        value: the ratio; nan unless both widths are known.
        interval: its interval over the seeds of both problems.
    """

    value: float
    interval: Interval


class Exponent(NamedTuple):
    """The slope of log width over log length.

    Attributes:
        value: the slope by least squares over the sizes at which the width is known; nan with fewer than two.
        interval: the 95% interval: the hull of the bootstrap interval and of Student's interval from the
            line's residuals; infinite with fewer than three sizes.
        sizes: the number of sizes at which the width is known.
        verdict: the hypothesis within the interval, if it is the only one; 'inconclusive' if there are
            several or if is_contradicted; 'none' if there are none; 'not known' without a value.
        is_contradicted: whether the line misses the bounds of a size whose width is only bounded.
    """

    value: float
    interval: Interval
    sizes: int
    verdict: str
    is_contradicted: bool = False


def crossing(curve: Curve, target: float) -> Crossing:
    """Finds where a curve reaches the target; widths at which no seed was run are left out."""
    tried = ~np.isnan(curve.accuracy).all(axis=0)
    if not tried.any():
        return Crossing(math.nan, 0.0, math.inf)
    widths, accuracy = curve.widths[tried], curve.accuracy[:, tried]
    fitted = isotonic(Curve(widths, accuracy))
    if fitted[-1] < target:
        reaching = np.nanmean(accuracy, axis=0) >= target
        if not reaching.any():
            return Crossing(math.nan, float(widths[-1]), math.inf)
        first = int(np.argmax(reaching))
        return Crossing(math.nan, float(widths[first - 1]) if first else 0.0, math.inf, float(widths[first]))
    first = int(np.argmax(fitted >= target))
    if first == 0:
        return Crossing(math.nan, 0.0, float(widths[0]))
    share = (target - fitted[first - 1]) / (fitted[first] - fitted[first - 1])
    low, high = np.log(widths[first - 1]), np.log(widths[first])
    width = float(np.exp(low + share * (high - low)))
    return Crossing(width, width, width)


def isotonic(curve: Curve) -> np.ndarray:
    """The isotonic regression of mean accuracy on width, `[widths]`; every width must have an accuracy."""
    counts = np.sum(~np.isnan(curve.accuracy), axis=0)
    return optimize.isotonic_regression(np.nanmean(curve.accuracy, axis=0), weights=counts).x


def interval(curve: Curve, target: float) -> Interval:
    """The interval of the width at which a curve reaches the target."""
    return _percentiles(*_resampled(curve, target))


def ratio(curve: Curve, to: Curve, target: float) -> Ratio:
    """The width that the problem of `curve` needs, relative to the width that the problem of `to` needs."""
    value = crossing(curve, target).width / crossing(to, target).width
    (least, most), weights = _jointly([_resampled(curve, target), _resampled(to, target)])
    with np.errstate(divide='ignore'):
        return Ratio(value, _percentiles(least[0] / most[1], most[0] / least[1], weights))


def exponent(lengths: Sequence[float], curves: Sequence[Curve], target: float) -> Exponent:
    """Fits the exponent with which the needed width grows with length.

    Sizes at which the width is only bounded are left out. If these are the largest or the smallest sizes, the
    slope is biased towards 0, so reports must give the number of sizes used. If the line misses the bounds of
    a size that was left out, the verdict is inconclusive.
    """
    found = [crossing(curve, target) for curve in curves]
    known = [i for i, at in enumerate(found) if not math.isnan(at.width)]
    x = np.log([lengths[i] for i in known])
    if len(set(x)) < 2:
        return Exponent(math.nan, Interval(-math.inf, math.inf), len(known), 'not known')
    fit = stats.linregress(x, np.log([found[i].width for i in known]))
    low, high = -math.inf, math.inf
    if len(known) > 2:
        margin = fit.stderr * stats.t.ppf(1 - _TAIL, len(known) - 2)
        low, high = _bootstrap_of_slope(x, [_resampled(curves[i], target) for i in known])
        low, high = min(low, fit.slope - margin), max(high, fit.slope + margin)
    line = np.exp(fit.intercept + fit.slope * np.log(lengths))
    off = any(
        not at.least <= on_line <= at.most
        for at, on_line in zip(found, line, strict=True)
        if math.isnan(at.width)
    )
    verdict = 'inconclusive' if off else _verdict(low, high)
    return Exponent(float(fit.slope), Interval(float(low), float(high)), len(known), verdict, off)


def _bootstrap_of_slope(x: np.ndarray, resampled: Sequence['_Resamples']) -> Interval:
    (least, most), weights = _jointly(resampled)
    pull = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    with np.errstate(divide='ignore'):
        logs = np.log(least), np.log(most)
    low = high = 0.0
    for number, share in enumerate(pull):
        if share:  # otherwise 0 times an infinite bound; a size in the middle does not turn the line
            below, above = logs if share > 0 else logs[::-1]
            low, high = low + share * below[number], high + share * above[number]
    return _percentiles(low, high, weights)


def _verdict(low: float, high: float) -> str:
    within = [name for name, value in HYPOTHESES.items() if low <= value <= high]
    return within[0] if len(within) == 1 else 'inconclusive' if within else 'none'


class _Resamples(NamedTuple):
    """Bounds of the needed width for each draw of seeds with replacement, and each draw's probability."""

    least: np.ndarray
    most: np.ndarray
    weights: np.ndarray


def _resampled(curve: Curve, target: float) -> _Resamples:
    seeds = len(curve.accuracy)
    if math.comb(2 * seeds - 1, seeds) <= _MOST_RESAMPLES:
        draws = {
            draw: math.factorial(seeds) / math.prod(map(math.factorial, Counter(draw).values()))
            for draw in itertools.combinations_with_replacement(range(seeds), seeds)
        }
    else:
        drawn = np.random.default_rng(0).integers(seeds, size=(_MOST_RESAMPLES, seeds))
        draws = Counter(map(tuple, np.sort(drawn, axis=1).tolist()))
    found = [crossing(Curve(curve.widths, curve.accuracy[list(draw)]), target) for draw in draws]
    least, most = np.transpose([(at.least, at.most) for at in found])
    weights = np.array(list(draws.values()), float)
    return _Resamples(least, most, weights / weights.sum())


def _jointly(parts: Sequence[_Resamples]) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Bounds `[parts, draws]` for independent draws from all parts, and each joint draw's probability."""
    counts = [len(part.weights) for part in parts]
    if math.prod(counts) <= _MOST_CHOICES:
        draws = np.indices(counts).reshape(len(parts), -1)
        weights = np.prod([part.weights[draw] for part, draw in zip(parts, draws, strict=True)], axis=0)
    else:
        random = np.random.default_rng(0)
        draws = [random.choice(len(part.weights), _MOST_CHOICES, p=part.weights) for part in parts]
        weights = np.full(_MOST_CHOICES, 1 / _MOST_CHOICES)
    least = np.stack([part.least[draw] for part, draw in zip(parts, draws, strict=True)])
    most = np.stack([part.most[draw] for part, draw in zip(parts, draws, strict=True)])
    return (least, most), weights


def _percentiles(least: np.ndarray, most: np.ndarray, weights: np.ndarray) -> Interval:
    """The interval of draws' bounds; not interpolated, since a bound may be infinite."""
    return Interval(_percentile(least, weights, _TAIL), _percentile(most, weights, 1 - _TAIL))


def _percentile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    reached = np.searchsorted(np.cumsum(weights[order]), share - 1e-9)
    return float(values[order][min(reached, len(values) - 1)])
