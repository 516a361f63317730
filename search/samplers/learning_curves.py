"""Learning curves of trials as observations of one function: how good a configuration gets.

A trial that was stopped at epoch e has no last value. Its value at e is moved by what trials that
went on gained from there, in the median, from milestone to milestone; the Gaussian process does the
rest. Milestones are the epochs at which trials ended: with successive halving its rungs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Curve = Mapping[int, float]
"""Finite values by epoch, counted from 1; larger is better."""
FEWEST = 3
"""So many trials make a median."""
MOST_MILESTONES = 6


@dataclass(frozen=True)
class Observations:
    """A curve at an epoch each, ordered by curve: which curve, value, shortfall: (n,) each.

    Values are moved to the last milestone; a shortfall is 0 there and 1 at the first of all, along
    the square of the logarithm of the epoch: what is nearly trained tells nearly all.
    """

    curves: Indices
    values: Array
    shortfalls: Array


def milestones(ends: Sequence[int]) -> list[int]:
    """Of the epochs at which trials ended, at most `MOST_MILESTONES`, ascending, the last included.

    Where there are more, as with rules that stop anywhere, those nearest to a geometric series.
    """
    found = sorted(set(ends))
    if len(found) <= MOST_MILESTONES:
        return found
    wanted = np.geomspace(found[0], found[-1], MOST_MILESTONES)
    return sorted({min(found, key=lambda epoch: abs(np.log(epoch / w))) for w in wanted})


def observe(curves: Sequence[Curve], stones: Sequence[int]) -> Observations:
    """The curves at the milestones, and those past one also at their last epoch.

    A curve that has reached none is left out. Between milestones values are moved by what lies
    between their moves, along the logarithm of the epoch.
    """
    seen = [(i, epoch) for i, curve in enumerate(curves) for epoch in _counted(curve, stones)]
    indices = np.array([i for i, _ in seen], dtype=np.intp)
    values = np.array([curves[i][epoch] for i, epoch in seen], dtype=np.float64)
    logs, at = np.log(stones), np.log([float(epoch) for _, epoch in seen])
    shortfalls = ((logs[-1] - at) / max(logs[-1] - logs[0], 1e-12)) ** 2
    return Observations(indices, values + np.interp(at, logs, _shifts(curves, stones)), shortfalls)


def _counted(curve: Curve, stones: Sequence[int]) -> list[int]:
    """The epochs of a curve that count, ascending."""
    counted = [stone for stone in stones if stone in curve]
    last = max(curve, default=0)
    between = stones[0] < last < stones[-1] and last not in stones
    return [*counted, last] if between else counted


def _shifts(curves: Sequence[Curve], stones: Sequence[int]) -> list[float]:
    """What is added to a value at each milestone: the median gains from there to the last."""
    shifts = [0.0]
    for start, end in zip(reversed(stones[:-1]), reversed(stones[1:]), strict=True):
        gains = [curve[end] - curve[start] for curve in curves if start in curve and end in curve]
        shifts.append(shifts[-1] + (float(np.median(gains)) if len(gains) >= FEWEST else 0.0))
    return shifts[::-1]


def squashed(values: Array) -> Array:
    """Values (n,) brought nearer to the median the farther below it they are, then standardized.

    How bad the bad are teaches nothing about the good; the order stays.
    """
    middle, upper = np.quantile(values, [0.5, 0.9])
    spread = max(float(upper - middle), 1e-12)
    below = np.maximum(middle - values, 0.0)
    near = np.where(values < middle, middle - spread * np.log1p(below / spread), values)
    deviation = max(float(near.std()), 1e-12)
    standard: Array = (near - near.mean()) / deviation
    return standard
