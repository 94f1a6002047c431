"""Which rungs of a ladder to try, to find the lowest that does, of those whose cost grows with height.

Accuracy need not grow with width, so a bisection may end on the wrong side of a dip; therefore the neighbours
of what it finds are tried too.
"""

from collections.abc import Mapping, Sequence


def outcome(reached: Mapping[int, float], seeds: Sequence[int], target: float) -> list[bool]:
    """Whether a rung does: on the mean over seeds, by which widths are judged, and for each seed.

    Args:
        reached: accuracy by seed; one that diverged is not there, and has learnt nothing.
        seeds: that were run.
        target: the accuracy asked for.
    """
    found = [reached.get(seed, 0.0) for seed in seeds]
    return [sum(found) / len(found) >= target, *(accuracy >= target for accuracy in found)]


def next_rungs(count: int, passed: dict[int, Sequence[bool]]) -> list[int]:
    """The rungs to try next; none when the search is over.

    The lowest passing rung of the mean and of each seed is found by bisection, and confirmed by the two below
    it, which have to fail, and the one above it.

    Args:
        count: rungs, from 0, the cheapest.
        passed: of each rung tried so far, its `outcome`.
    """
    if not passed:
        return [(count - 1) // 2]
    outcomes = len(next(iter(passed.values())))
    tried = sorted(passed)
    wanted = set()
    for number in range(outcomes):
        lowest = next((rung for rung in tried if passed[rung][number]), count)
        below = max((rung for rung in tried if rung < lowest), default=-1)
        if lowest - below > 1:
            wanted.add((lowest + below) // 2)
        else:
            neighbours = {lowest - 2, lowest + 1} if lowest < count else {count - 2}
            wanted |= {rung for rung in neighbours - set(tried) if 0 <= rung < count}
    return sorted(wanted)
