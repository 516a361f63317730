"""How well a rung's values foretell the next rung's: whether early stopping stops slow starters.

Trials that were stopped have no later value. Those that went on are the best of the rung, and among
them the rank correlation r is lower than it would be among all (direct range restriction). As all
values at the rung are known, r can be corrected to r u / sqrt(1 + r^2 (u^2 - 1)), where u is the
standard deviation of the rung's values among all trials divided by that among those that went on
(Thorndike, Personnel Selection, 1949, case 2). Normal scores stand for the values, so that only
ranks count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from math import atanh, sqrt, tanh

import numpy as np
from numpy.typing import NDArray

from fmnist_models.config.base import Config
from search.schedulers.rules import Decision

FEWEST = 8
"""So many trials must have gone on before anything is said."""
LOW = 0.7
"""Correlations below are warned of. Where the best third goes on, a trial that would be two
standard deviations above the mean at the next rung is stopped at this one: once in 120 times at a
correlation of 0.85, in 11 at 0.7, in 4 at 0.5, in 1.5 at 0."""
QUANTILE = 1.645
"""Of the normal distribution: 95 % lie below."""
LOOK_GROWTH = 1.05
"""A look goes over all curves, so the next one waits until there are 5 % more decisions."""

Curve = Mapping[int, float]
"""Values by epoch."""


class RungCorrelation(Config):
    """Spearman's rank correlation of a rung's values with those at a later epoch.

    `later` is the next rung, or the last epoch; `reached` trials came to the rung, and `went_on` of
    them to the later epoch. `observed` is the correlation among those that went on, `estimate` the
    one that all would have shown. It is below `upper` with 95 % confidence; `is_low` where `upper`
    is under 0.7.
    """

    rung: int
    later: int
    reached: int
    went_on: int
    observed: float
    estimate: float
    upper: float
    is_low: bool


def rung_correlations(curves: Collection[Curve], epochs: Sequence[int]) -> list[RungCorrelation]:
    """Of each of `epochs` (ascending) with the next, where enough trials went on to tell."""
    found = [_correlation(curves, rung, later) for rung, later in pairwise(epochs)]
    return [correlation for correlation in found if correlation is not None]


def _correlation(curves: Collection[Curve], rung: int, later: int) -> RungCorrelation | None:
    """None where fewer than `FEWEST` went on, or all of them have the same value."""
    reached = [curve for curve in curves if rung in curve]
    went_on = np.array([later in curve for curve in reached], dtype=bool)
    if went_on.sum() < FEWEST:
        return None
    from scipy.special import ndtri

    values = np.array([curve[rung] for curve in reached])
    early = values[went_on]
    late = np.array([curve[later] for curve in reached if later in curve])
    if np.ptp(early) == 0 or np.ptp(late) == 0:
        return None
    observed = float(np.corrcoef(_ranks(early), _ranks(late))[0, 1])
    scores = ndtri((_ranks(values) - 0.5) / len(values))  # normal scores
    restriction = max(1.0, float(scores.std() / scores[went_on].std()))
    upper = _unrestricted(_upper(observed, int(went_on.sum())), restriction)
    return RungCorrelation(
        rung=rung,
        later=later,
        reached=len(reached),
        went_on=int(went_on.sum()),
        observed=observed,
        estimate=_unrestricted(observed, restriction),
        upper=upper,
        is_low=upper < LOW,
    )


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks (n,) from 1; equal values share the mean of theirs."""
    # scipy.stats has it, but takes a second to import, which `status` would wait for.
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _upper(correlation: float, count: int) -> float:
    """The upper end of a one-sided 95 % interval (Fisher's z)."""
    inside = min(max(correlation, -0.999), 0.999)
    return tanh(atanh(inside) + QUANTILE / sqrt(count - 3))


def _unrestricted(correlation: float, restriction: float) -> float:
    """The correlation among all trials: the formula at the top of the file."""
    return correlation * restriction / sqrt(1 + correlation**2 * (restriction**2 - 1))


def correlation_line(found: RungCorrelation) -> str:
    """A correlation as a sentence for the summary."""
    stopped = f", about {found.estimate:.2f} had all {found.reached} gone on"
    return (
        f"Rank correlation of epoch {found.rung} with epoch {found.later}: {found.observed:.2f} "
        f"over {found.went_on} trials{stopped if found.reached > found.went_on else ''}."
    )


def grace_period_warning(correlations: Sequence[RungCorrelation]) -> str | None:
    """The warning about rungs that foretell too little, with figures and remedy; None without any.

    Of several it names the last one, as its remedy helps the others too.
    """
    low = [found for found in correlations if found.is_low]
    if not low:
        return None
    worst = low[-1]
    return (
        f"Warning: the rank correlation of epoch {worst.rung} with epoch {worst.later} is "
        f"{worst.observed:.2f} over {worst.went_on} trials, about {worst.estimate:.2f} had none "
        f"been stopped: the rung at epoch {worst.rung} may stop slow starters; "
        f"raise --grace-period to {worst.later}."
    )


class RungWatch:
    """Warns once in a launch; `curves` grow while it watches, and are read at rungs only."""

    def __init__(self, curves: Mapping[int, Curve], say: Callable[[str], None]) -> None:
        self._curves, self._say = curves, say
        self._rungs: set[int] = set()
        self._has_said = False
        self._decisions, self._next_look = 0, 0.0

    def look(self, decision: Decision | None) -> None:
        """Look again where a decision was made at a rung, and enough were since the last look."""
        if self._has_said or decision is None or decision.rung is None:
            return
        self._rungs.add(decision.rung)
        self._decisions += 1
        if self._decisions < self._next_look:
            return
        self._next_look = LOOK_GROWTH * self._decisions
        found = grace_period_warning(rung_correlations(self._curves.values(), sorted(self._rungs)))
        if found:
            self._say(found)
            self._has_said = True
