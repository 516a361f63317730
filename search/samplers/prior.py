"""What a sampler may be told of a space before anything was tried."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

Array = NDArray[np.float64]


class Prior(Protocol):
    """A distribution over each parameter. Places: the index of a choice, or 0 to 1 in a range."""

    def places(self, name: str, distribution: BaseDistribution, at: Array) -> Array:
        """Places (n,) of a parameter for uniform random numbers `at` (n,), in their order."""

    def log_density(self, name: str, distribution: BaseDistribution, places: Array) -> Array:
        """Logarithms (n,) of how much more probable places are than in an even draw."""


class EvenPrior:
    """Nothing is known: all of a range is equally probable."""

    def places(self, name: str, distribution: BaseDistribution, at: Array) -> Array:
        """As in `Prior`."""
        if isinstance(distribution, CategoricalDistribution):
            return np.floor(at * len(distribution.choices))
        return at

    def log_density(self, name: str, distribution: BaseDistribution, places: Array) -> Array:
        """As in `Prior`."""
        return np.zeros(len(places))


EVEN = EvenPrior()
