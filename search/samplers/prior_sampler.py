"""Random search by a prior."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.samplers.prior import Prior
from search.samplers.space_encoding import value_at


class PriorSampler(RandomSampler):
    """Random search: every parameter is drawn from the prior."""

    def __init__(self, prior: Prior, seed: int | None = None) -> None:
        super().__init__(seed)
        self._prior = prior

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One value from the prior."""
        at = self._rng.rng.uniform(size=1)
        place = self._prior.places(param_name, param_distribution, at)[0]
        return value_at(param_distribution, float(place))
