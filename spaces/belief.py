"""What is believed of a search space before anything was tried: where each parameter is good.

A parameter is near its default with the probability `trust`, and anywhere in its range otherwise:
what is rarely good is improbable, not impossible. Of 40 parameters that are drawn evenly some five
are a handicap each: a margin, a policy, no batch norm, a constant learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Array = NDArray[np.float64]
DOUBTS: dict[str, float] = {"weak": 3.0, "normal": 1.0, "strong": 1 / 3}
"""By what the odds against a default are multiplied."""
SPREAD = 0.1
"""Standard deviation of a number that is near its default, in parts of its range."""
UNLIKELY = 0.2
"""How often an unlikely choice is made, as a part of another one's share."""


@dataclass(frozen=True)
class Axis:
    """The prior of a parameter: near `default` with probability `trust`, else uniform in its range.

    Near is a normal distribution cut at the bounds, or the choice itself. Of the other choices the
    `unlikely` ones, which have always hurt, come a fifth as often.
    """

    default: Any
    trust: float
    unlikely: tuple[Any, ...] = ()

    def doubted(self, times: float) -> Axis:
        """The same with `times` the odds against the default."""
        return replace(self, trust=1 / (1 + times * (1 - self.trust) / self.trust))


@dataclass(frozen=True)
class Belief:
    """Axes by the names of their parameters; what has none is drawn evenly from its range.

    Places are the sampler's coordinates: the index of a choice, or from 0 to 1 between the bounds.
    """

    axes: Mapping[str, Axis] = field(default_factory=dict)

    def trusted(self, trust: str) -> Belief:
        """The same, trusted less or more."""
        return Belief({name: axis.doubted(DOUBTS[trust]) for name, axis in self.axes.items()})

    def places(self, name: str, distribution: BaseDistribution, at: Array) -> Array:
        """Places (n,) of a parameter for uniform random numbers `at` (n,)."""
        from scipy.special import ndtr, ndtri  # only here: it takes half a second to load

        axis, choices = self.axes.get(name), getattr(distribution, "choices", None)
        if choices is not None:
            return np.searchsorted(np.cumsum(_shares(axis, choices)), at).clip(0, len(choices) - 1)
        if axis is None:
            return at
        centre = between(distribution, axis.default)
        low, high = ndtr(-centre / SPREAD), ndtr((1 - centre) / SPREAD)
        near = centre + SPREAD * ndtri(low + np.minimum(at / axis.trust, 1.0) * (high - low))
        anywhere = (at - axis.trust) / max(1 - axis.trust, 1e-12)
        return np.clip(np.where(at < axis.trust, near, anywhere), 0.0, 1.0)

    def log_density(self, name: str, distribution: BaseDistribution, places: Array) -> Array:
        """How much more probable places (n,) are than in an even draw, as logarithms (n,)."""
        from scipy.special import ndtr

        axis, choices = self.axes.get(name), getattr(distribution, "choices", None)
        if axis is None:
            return np.zeros(len(places))
        if choices is not None:
            more: Array = np.log(len(choices) * _shares(axis, choices))
            return more[places.astype(np.intp)]
        centre = between(distribution, axis.default)
        within = ndtr((1 - centre) / SPREAD) - ndtr(-centre / SPREAD)
        near = np.exp(-0.5 * ((places - centre) / SPREAD) ** 2) / (SPREAD * sqrt(2 * pi) * within)
        density: Array = np.log(axis.trust * near + 1 - axis.trust)
        return density


def _shares(axis: Axis | None, choices: tuple[Any, ...]) -> Array:
    """The probability of each choice; even where nothing is believed, or another default."""
    if axis is None or axis.default not in choices or len(choices) == 1:
        return np.full(len(choices), 1 / len(choices))
    default = choices.index(axis.default)
    others = np.ones(len(choices))
    if all(type(choice) in (int, float) for choice in choices):  # in their order, near ones first
        others = 0.5 ** np.abs(np.arange(len(choices)) - default)
    others[[choice in axis.unlikely for choice in choices]] *= UNLIKELY
    others[default] = 0.0
    shares: Array = (1 - axis.trust) * others / others.sum()
    shares[default] = axis.trust
    return shares


def between(distribution: Any, value: float) -> float:
    """Where a number lies between the bounds, from 0 to 1, on the scale of its range."""
    low, high = distribution.low, distribution.high
    if high <= low:
        return 0.5
    value = min(max(value, low), high)
    if distribution.log:
        return log(value / low) / log(high / low)
    return float((value - low) / (high - low))
