"""Which rungs of a ladder to try, to find the lowest that does, of those whose cost grows with height.

Accuracy need not grow with width, so a bisection may end on the wrong side of a dip; therefore the neighbours
of what it finds are tried too.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence


def wanted(
    axes: Mapping[str, Sequence[str]],
    accuracy: Callable[[tuple[str, ...]], Sequence[float]],
    target: float,
) -> Iterator[tuple[str, ...]]:
    """What the next step of a search takes, by its labels; nothing when it is over.

    Args:
        axes: values by axis; the last is the ladder, searched at every choice of the others.
        accuracy: of each seed at these labels; see `next_rungs`.
        target: the accuracy asked for.
    """
    *outer, ladder = axes.values()
    for point in itertools.product(*outer):
        for rung in next_rungs([accuracy((*point, value)) for value in ladder], target):
            yield *point, ladder[rung]


def next_rungs(ladder: Sequence[Sequence[float]], target: float) -> list[int]:
    """The rungs to try next; none when the search is over.

    The lowest rung that reaches the target is found by bisection, for each seed and for their mean, by which
    widths are judged. It is confirmed by the two below it, which have to fail, and the one above it; where
    that falls short again, by those above, until accuracy made to grow with height reaches the target.

    Args:
        ladder: of each rung, from the cheapest, the accuracy of each seed; nan where that has not ended.
        target: the accuracy asked for.
    """
    tried = {rung: seeds for rung, seeds in enumerate(ladder) if not any(map(math.isnan, seeds))}
    if not tried:
        return [(len(ladder) - 1) // 2]
    outcomes = [[sum(seeds) / len(seeds), *seeds] for seeds in tried.values()]
    series = [dict(zip(tried, accuracy, strict=True)) for accuracy in zip(*outcomes, strict=True)]
    return sorted(set().union(*(_next_of(accuracy, len(ladder), target) for accuracy in series)))


def _next_of(accuracy: Mapping[int, float], count: int, target: float) -> set[int]:
    """What one series of accuracies, by rung, asks for."""
    lowest = next((rung for rung, reached in accuracy.items() if reached >= target), count)
    below = max((rung for rung in accuracy if rung < lowest), default=-1)
    if lowest - below > 1:
        return {(lowest + below) // 2}
    around = {lowest - 2, lowest + 1}
    if lowest < count and _greatest_pooled(list(accuracy.values())) < target:
        around.add(max(accuracy) + 1)
    return {rung for rung in around - set(accuracy) if 0 <= rung < count}


def _greatest_pooled(accuracy: Sequence[float]) -> float:
    """The last value of the isotonic regression: the greatest mean over an end of the sequence."""
    ends = (accuracy[start:] for start in range(len(accuracy)))
    return max(sum(end) / len(end) for end in ends)
