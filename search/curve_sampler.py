"""An Optuna sampler for early-stopped trials: a Gaussian process over the curves of all of them.

Every trial that has reported a value counts, stopped, running or complete: `curves` says what it
would have reached. The next configuration is the candidate with the highest expected improvement
(Jones et al., 1998; on a logarithmic scale as in arXiv:2310.20708) among random ones and neighbours
of the best, under the posterior that also holds the running trials at their own mean
(kriging believer, Ginsbourger et al., 2010). Conditional and categorical parameters are handled by
`encoding`. Single objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from search.curves import last_values
from search.encoding import Encoding, Params
from search.gaussian_process import GaussianProcess, Kernel, fit

Array = NDArray[np.float64]
RANDOM, NEIGHBOURS, BEST = 512, 64, 6
"""Candidates of an ask: at random, and around each of so many of the best trials."""
MUTATIONS = ((0.3, 0.4), (0.1, 0.6), (0.03, 0.8))
"""Width and rate of the changes that make a neighbour."""
REFIT_GROWTH = 1.15
"""The kernel is fitted anew when there are so many times the trials of last time."""
MOST_FITTED = 300
"""The kernel is fitted to so many of the trials; all of them count in the posterior."""
WORST_SPREADS = 2.0
"""How far below the median, in distances from median to upper decile, bad values are told apart."""


class CurveSampler(BaseSampler):
    """See the top of the file; the first `n_startup_trials` are random."""

    def __init__(self, n_startup_trials: int = 10, seed: int | None = None) -> None:
        self.n_startup_trials = n_startup_trials
        self._rng = np.random.RandomState(seed)
        self._random = RandomSampler(seed=seed)
        self._kernel: tuple[int, int, Kernel] | None = None

    def reseed_rng(self) -> None:
        """As Optuna asks of samplers that are shared by threads."""
        self._rng = np.random.RandomState()
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters that trials have had, at their widest."""
        seen = _with_values(study)
        if len(seen) < self.n_startup_trials or study.direction is None:
            return {}
        return dict(Encoding((t.distributions, t.params) for t in seen).space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The candidate with the highest expected improvement."""
        if not search_space:
            return {}
        seen = _with_values(study)
        encoding = Encoding((t.distributions, t.params) for t in seen)
        if encoding.columns == 0:
            return {}
        inputs = np.stack([encoding.encode(t.params) for t in seen])
        targets, noise = _targets(seen, study.direction)
        kernel = self._fitted(inputs, targets, noise)
        inputs, targets, noise = _believe(
            kernel, inputs, targets, noise, _silent(study, encoding, trial)
        )
        process = GaussianProcess(inputs, targets, noise, kernel)
        means, _ = process.predict(inputs[: len(seen)])
        best = np.argsort(-means, kind="stable")[:BEST]
        candidates = self._candidates(encoding, [seen[i].params for i in best])
        points = np.stack([encoding.encode(params) for params in candidates])
        gains = log_expected_improvement(*process.predict(points), float(means.max()))
        return candidates[int(np.argmax(gains))]

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """At random: at the start, and for what no trial has had before."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _fitted(self, inputs: Array, targets: Array, noise: Array) -> Kernel:
        """The kernel, fitted anew only when there is much more to fit it to, or other columns."""
        count, columns = inputs.shape
        if self._kernel is not None:
            fitted, had, kernel = self._kernel
            if had == columns and count < REFIT_GROWTH * fitted:
                return kernel
            start = kernel if had == columns else None
        else:
            start = None
        part = np.arange(count)
        if count > MOST_FITTED:  # the best half, and of the others any
            order = np.argsort(-targets, kind="stable")
            others = self._rng.permutation(order[MOST_FITTED // 2 :])
            part = np.concatenate([order[: MOST_FITTED // 2], others[: MOST_FITTED // 2]])
        kernel = fit(inputs[part], targets[part], noise[part], start)
        self._kernel = count, columns, kernel
        return kernel

    def _candidates(self, encoding: Encoding, best: Sequence[Params]) -> list[Params]:
        found = [encoding.draw(self._rng) for _ in range(RANDOM)]
        for params in best:
            for i in range(NEIGHBOURS):
                width, rate = MUTATIONS[i % len(MUTATIONS)]
                found.append(encoding.mutate(params, width, rate, self._rng))
        return found


def log_expected_improvement(means: Array, deviations: Array, best: float) -> Array:
    """The logarithm of the expected improvement on `best`, (m,); larger is better."""
    scaled = (means - best) / deviations
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    plain = np.log(np.maximum(density + scaled * ndtr(scaled), 1e-300))
    # Far below: phi(z) / z^2, by its logarithm.
    far = -0.5 * scaled**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(np.maximum(-scaled, 1.0))
    values: Array = np.where(scaled > -20, plain, far) + np.log(deviations)
    return values


def _curve(trial: FrozenTrial) -> dict[int, float]:
    """The finite values of a trial by epoch."""
    curve = {e: v for e, v in trial.intermediate_values.items() if np.isfinite(v)}
    if trial.state == TrialState.COMPLETE and trial.value is not None and np.isfinite(trial.value):
        curve.setdefault(max(curve, default=0) + (0 if curve else 1), trial.value)
    return curve


def _with_values(study: Study) -> list[FrozenTrial]:
    """The trials that tell something: with parameters and a finite value."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study._get_trials(deepcopy=False, states=states, use_cache=True)
    return [t for t in trials if t.params and _curve(t)]


def _targets(trials: Sequence[FrozenTrial], direction: StudyDirection) -> tuple[Array, Array]:
    """Standardized values at the last epoch, larger is better, and their variances.

    What is very bad is brought nearer, as how bad it is teaches nothing about the good.
    """
    values, variances = last_values([_curve(trial) for trial in trials])
    if direction == StudyDirection.MINIMIZE:
        values = -values
    middle, upper = np.quantile(values, [0.5, 0.9])
    spread = max(float(upper - middle), 1e-12)
    values = np.maximum(values, middle - WORST_SPREADS * spread)
    deviation = max(float(values.std()), 1e-12)
    return (values - values.mean()) / deviation, variances / deviation**2


def _silent(study: Study, encoding: Encoding, asking: FrozenTrial) -> Array:
    """The points of running trials that have not reported yet: (m, columns)."""
    trials = study._get_trials(deepcopy=False, states=(TrialState.RUNNING,), use_cache=True)
    points = [
        encoding.encode(t.params)
        for t in trials
        if t.number != asking.number and t.params and not _curve(t)
    ]
    return np.stack(points) if points else np.empty((0, encoding.columns))


def _believe(
    kernel: Kernel, inputs: Array, targets: Array, noise: Array, silent: Array
) -> tuple[Array, Array, Array]:
    """The data with `silent` points added at the mean that they are predicted."""
    if not len(silent):
        return inputs, targets, noise
    means, _ = GaussianProcess(inputs, targets, noise, kernel).predict(silent)
    return (
        np.concatenate([inputs, silent]),
        np.concatenate([targets, means]),
        np.concatenate([noise, np.zeros(len(silent))]),
    )
