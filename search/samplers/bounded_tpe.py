"""TPE whose cost does not grow with the study for ever.

For each parameter Optuna's TPE (Bergstra et al., NIPS 2011) goes through all trials, so that in a
study of 10,000 trials with 30 parameters it would think for seconds about each new one. Here it is
shown at most `most` of them: the best, which it learns from, and of the others as many as there is
room for, evenly over the study, which keeps their density.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

MOST_TRIALS = 1000
BEST_SHARE = 0.1


class BoundedTPESampler(TPESampler):
    """Univariate TPE that looks at no more than `most` finished trials; with fewer it is plain TPE.

    Other keyword arguments are those of TPESampler. Single objective.
    """

    def __init__(self, *, most: int = MOST_TRIALS, **options: Any) -> None:
        super().__init__(multivariate=False, **options)
        self.most = most
        self._shown: tuple[int, int, list[FrozenTrial]] | None = None

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value for one parameter; all of a trial's are sampled from the same trials."""
        key = (id(study._storage), trial._trial_id)
        if self._shown is None or self._shown[:2] != key:
            trials = study._get_trials(deepcopy=False)
            self._shown = (*key, thinned(trials, study.direction, self.most))
        shown: Any = _Shown(study, self._shown[2])
        return super().sample_independent(shown, trial, param_name, param_distribution)


class _Shown:
    """A study that shows some of its trials."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        shown = [t for t in self._trials if states is None or t.state in states]
        return copy.deepcopy(shown) if deepcopy else shown


def thinned(
    trials: list[FrozenTrial], direction: StudyDirection, most: int = MOST_TRIALS
) -> list[FrozenTrial]:
    """At most `most` finished trials with a value, and all that are not finished, in order."""
    finished = [t for t in trials if t.state.is_finished() and t.values]
    if len(finished) <= most:
        return trials
    up = direction == StudyDirection.MAXIMIZE
    ranked = sorted(finished, key=lambda t: t.values[0], reverse=up)
    best = int(most * BEST_SHARE)
    others = sorted(ranked[best:], key=lambda t: t.number)
    room = most - best
    spread = [others[i * len(others) // room] for i in range(room)]
    kept = {t.number for t in (*ranked[:best], *spread)}
    return [t for t in trials if t.number in kept or not t.state.is_finished()]
