"""Whether somebody outside could tell two kinds of question apart by how long the answers take.

An effect size, no p-value and no seconds: both samples are taken in pairs, one right after the other, so that whatever
else the machine does is in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PAIRS: Final = 2_000
ALIKE: Final = 0.1
"""Of the same thing measured twice in 2,000 pairs, more than this comes by chance once in a hundred thousand runs; one
answer of either kind is then told by its time in 55 of 100 cases at most."""


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    """From 0, not to be told apart, to 1, told every time: the larger of two distances.

    How much oftener than not one of a pair takes longer finds a shift; the largest distance between the two
    distributions (Kolmogorov–Smirnov) finds any other difference.
    """
    longer = sum((a > b) - (a < b) for a, b in zip(one, other, strict=True))
    return max(abs(longer) / len(one), _largest_distance(one, other))


def _largest_distance(one: Sequence[float], other: Sequence[float]) -> float:
    steps = sorted([(value, 1 / len(one)) for value in one] + [(value, -1 / len(other)) for value in other])
    height = largest = 0.0
    for place, (value, step) in enumerate(steps):
        height += step
        if place + 1 == len(steps) or steps[place + 1][0] != value:
            largest = max(largest, abs(height))
    return largest
