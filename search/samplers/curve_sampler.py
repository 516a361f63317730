"""An Optuna sampler for early-stopped trials: a Gaussian process over the curves of all of them.

Every trial that has reported a value counts, stopped, running or complete (`learning_curves`). The
next configuration is the candidate with the highest expected improvement of the last value (Jones
et al., 1998; its logarithm, arXiv:2310.20708) among random ones and neighbours of the best. Running
trials count as if they had ended at their predicted mean (kriging believer, Ginsbourger et al.,
2010). In spaces of many parameters the winner is always a small step from the best trial, and early
stopping lets it run to its end; so every other trial is the best of random candidates alone, most
of which cost no more than the first rung. Conditional and categorical parameters are handled by
`space_encoding`. The first trials are a Latin hypercube. Single objective; all state is in the
study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import ThreadpoolController

from search.samplers.acquisition import maximize
from search.samplers.gaussian_process import Data, GaussianProcess, Kernel, fit_kernel
from search.samplers.learning_curves import squashed
from search.samplers.prior import EVEN, Prior
from search.samplers.space_encoding import Encoding, Numeric, nearest, value_at
from search.samplers.trial_history import TrialHistoryReader

Array = NDArray[np.float64]
REFIT_GROWTH = 1.2
"""The kernel is fitted anew when there are so many times the observations of last time."""
MOST_FITTED, MOST_KNOWN = 128, 200
"""So many observations the kernel is fitted to, and so many the posterior knows."""
MOST_REMEMBERED = 256
TRUST = 10.0
"""The prior's weight in the choice of a candidate, over the number of trials known (piBO,
arXiv:2204.11051)."""
EXPLORE_EVERY = 2
"""Of so many trials one looks for improvements everywhere."""


class CurveSampler(BaseSampler):
    """See the top of the file; the model takes over after `n_startup_trials` with a value."""

    def __init__(
        self, n_startup_trials: int = 10, seed: int | None = None, prior: Prior = EVEN
    ) -> None:
        self.n_startup_trials, self._prior = n_startup_trials, prior
        self._rng = np.random.RandomState(seed)
        self._design = int(self._rng.randint(2**31))
        self._fitted: tuple[int, Kernel] | None = None
        self._wanted: dict[int, Mapping[str, Any]] = {}
        self._history = TrialHistoryReader(prior)

    def reseed_rng(self) -> None:
        """As Optuna asks of samplers that are shared by threads."""
        self._rng.seed()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters that trials have had, at their widest; none as long as it draws."""
        self._raise_error_if_multi_objective(study)
        enough = self.n_startup_trials
        if (
            not self._history.knows(study, enough)
            and self._history.read(study, trial.number).with_values < enough
        ):
            return {}
        return dict(self._history.table.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The candidate with the highest expected improvement, and any value for what it lacks."""
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        with _libraries().limit(limits=1, user_api="blas"):
            wanted = self._wanted[trial.number] = self._best_candidate(study, trial)
        while len(self._wanted) > MOST_REMEMBERED:
            self._wanted.pop(next(iter(self._wanted)))
        return {name: value for name, value in wanted.items() if name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What the candidate wants, brought into the bounds of today; else a Latin hypercube's."""
        self._raise_error_if_multi_objective(study)
        wanted = self._wanted.get(trial.number, {}).get(param_name)
        if wanted is not None and isinstance(param_distribution, Numeric):
            return nearest(param_distribution, wanted)
        count = max(self.n_startup_trials, 1)
        order = np.random.RandomState((self._design + crc32(param_name.encode())) % 2**32)
        at = (order.permutation(count)[trial.number % count] + self._rng.uniform()) / count
        place = self._prior.places(param_name, param_distribution, np.array([at]))[0]
        return value_at(param_distribution, float(place))

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget what was wanted of the trial."""
        self._wanted.pop(trial.number, None)

    def _best_candidate(self, study: Study, asking: FrozenTrial) -> dict[str, Any]:
        history = self._history.read(study, asking.number)
        encoding, observed = history.encoding(), history.observations()
        inputs = encoding.encode(encoding.points)
        if not len(observed.values) or not inputs.shape[1]:
            return encoding.params(encoding.draw(1, self._rng)[0])
        data = Data(
            inputs=inputs[observed.curves],
            shortfalls=observed.shortfalls,
            targets=squashed(observed.values),
            trials=observed.curves,
        )
        kernel = self._kernel(data, encoding)
        data = data.take(self._part(data, MOST_KNOWN))
        process = GaussianProcess(data, kernel)
        if history.running.any():
            process.believe(inputs[history.running])
        known = np.unique(data.trials)
        point = maximize(
            process,
            encoding,
            known=encoding.points[known],
            inputs=inputs[known],
            rng=self._rng,
            trust=TRUST / len(known),
            everywhere=asking.number % EXPLORE_EVERY == EXPLORE_EVERY - 1,
        )
        return encoding.params(point)

    def _kernel(self, data: Data, encoding: Encoding) -> Kernel:
        """The kernel, fitted anew only when there is much more to fit it to, or other columns."""
        groups, start = encoding.groups(), None
        if self._fitted is not None and np.array_equal(self._fitted[1].groups, groups):
            count, start = self._fitted
            if len(data) < REFIT_GROWTH * count:
                return start
        kernel = fit_kernel(data.take(self._part(data, MOST_FITTED)), start or Kernel.prior(groups))
        self._fitted = len(data), kernel
        return kernel

    def _part(self, data: Data, most: int) -> NDArray[np.intp]:
        """At most so many observations: the best half, and of the others any."""
        order = np.argsort(-data.targets, kind="stable")
        if len(data) <= most:
            return order
        others = self._rng.permutation(order[most // 2 :])
        return np.concatenate([order[: most // 2], others[: most - most // 2]])


@cache
def _libraries() -> ThreadpoolController:
    """By which linear algebra is kept on one thread, as trials keep the other cores busy.

    Its threads would wait for each other: an ask took nine times as long beside two trainings.
    """
    return ThreadpoolController()
