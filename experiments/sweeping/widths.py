"""A search for the lowest rung of a ladder, such as the smallest width, that reaches a target accuracy.

Higher rungs cost more, so the search is a bisection. Accuracy need not grow with width, and a bisection may
end on the wrong side of a dip; therefore the neighbours of the rung found are tried as well.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence


def wanted(
    axes: Mapping[str, Sequence[str]],
    accuracy: Callable[[tuple[str, ...]], Sequence[float]],
    target: float,
) -> Iterator[tuple[str, ...]]:
    """Yields the labels of the points that a search runs next; none when it is over.

    Args:
        axes: values by axis; the last axis is the ladder, searched at every choice of the others.
        accuracy: returns the accuracy of each seed at a point's labels; see `next_rungs`.
        target: the accuracy to reach.
    """
    *outer, ladder = axes.values()
    for point in itertools.product(*outer):
        for rung in next_rungs([accuracy((*point, value)) for value in ladder], target):
            yield *point, ladder[rung]


def next_rungs(ladder: Sequence[Sequence[float]], target: float) -> list[int]:
    """The rungs to try next; none when the search is over.

    A bisection finds the lowest rung that reaches the target, for each seed and for the mean of the seeds,
    which defines the needed width. Two rungs below it, which must fail, and one above it are tried as well.
    If the one above falls short, further ones are tried until the isotonic regression reaches the target.

    Args:
        ladder: for each rung, from the cheapest, the accuracy of each seed; nan for a seed that is not done.
        target: the accuracy to reach.
    """
    tried = {rung: seeds for rung, seeds in enumerate(ladder) if not any(map(math.isnan, seeds))}
    if not tried:
        return [(len(ladder) - 1) // 2]
    outcomes = [[sum(seeds) / len(seeds), *seeds] for seeds in tried.values()]
    series = [dict(zip(tried, accuracy, strict=True)) for accuracy in zip(*outcomes, strict=True)]
    return sorted(set().union(*(_next_of(accuracy, len(ladder), target) for accuracy in series)))


def _next_of(accuracy: Mapping[int, float], count: int, target: float) -> set[int]:
    """The rungs that the search tries next for one series of accuracies by rung."""
    lowest = next((rung for rung, reached in accuracy.items() if reached >= target), count)
    below = max((rung for rung in accuracy if rung < lowest), default=-1)
    if lowest - below > 1:
        return {(lowest + below) // 2}
    around = {lowest - 2, lowest + 1}
    if lowest < count and _greatest_pooled(list(accuracy.values())) < target:
        around.add(max(accuracy) + 1)
    return {rung for rung in around - set(accuracy) if 0 <= rung < count}


def _greatest_pooled(accuracy: Sequence[float]) -> float:
    """The last value of the isotonic regression: the greatest mean of a suffix of the sequence."""
    ends = (accuracy[start:] for start in range(len(accuracy)))
    return max(sum(end) / len(end) for end in ends)
