"""What a trial would have reached: values of stopped trials brought to the last epoch.

A trial that was stopped at epoch e has no last value. It is given its value at e and what trials
that went on gained from there on, in the median, from milestone to milestone. How far those gains
lay apart is how little is known of it: a variance, for a model that takes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Curve = Mapping[int, float]
"""Values by epoch, counted from 1."""
FEWEST = 3
"""So many trials make a median."""
TO_DEVIATION = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""


def last_values(curves: Sequence[Curve]) -> tuple[Array, Array]:
    """For each curve the value to be expected at the last epoch of all, and its variance: (n,).

    Curves have one value at least. Where too few went on to tell, the gain counts as none.
    """
    milestones = sorted({max(curve) for curve in curves})
    gains = {start: _gain(curves, start, end) for start, end in _pairs(milestones)}
    values, variances = np.empty(len(curves)), np.zeros(len(curves))
    for i, curve in enumerate(curves):
        last = max(curve)
        passed = [gain for start, gain in gains.items() if start >= last]
        values[i] = curve[last] + sum(gain for gain, _ in passed)
        variances[i] = sum(variance for _, variance in passed)
    return values, variances


def _pairs(milestones: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(milestones[:-1], milestones[1:], strict=True))


def _gain(curves: Sequence[Curve], start: int, end: int) -> tuple[float, float]:
    """The median gain from one epoch to a later one, and the variance around it."""
    found = [curve[end] - curve[start] for curve in curves if start in curve and end in curve]
    if len(found) < FEWEST:
        return 0.0, 0.0
    middle = float(np.median(found))
    deviation = TO_DEVIATION * float(np.median(np.abs(np.array(found) - middle)))
    return middle, deviation**2
