"""The trials of a study as a model wants them: points of a cube, and learning curves.

All of it is read from the study. What a finished trial had is taken in once, as it never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.samplers.learning_curves import Curve, Observations, milestones, observe
from search.samplers.prior import EVEN, Prior
from search.samplers.space_encoding import Encoding, Table

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


@dataclass(frozen=True)
class TrialHistory:
    """The trials that have parameters and did not fail.

    `trials` are their numbers; `curves`, which may be empty, and `running` (n,) are in their order.
    `ends` are the epochs at which finished trials ended.
    """

    table: Table
    trials: list[int]
    curves: list[Curve]
    running: NDArray[np.bool_]
    ends: list[int]
    prior: Prior = EVEN

    def encoding(self) -> Encoding:
        """The trials as points, in their order."""
        return Encoding(self.table, self.trials, self.prior)

    @property
    def with_values(self) -> int:
        """How many of the trials have reported a value."""
        return sum(map(bool, self.curves))

    def observations(self) -> Observations:
        """The curves at the milestones; `curves` of it are places in `trials`."""
        ends = self.ends or [max(curve) for curve in self.curves if curve]
        return observe(self.curves, milestones(ends or [1]))


class TrialHistoryReader:
    """Reads studies, one at a time, and remembers the finished trials of the last.

    `table` holds the parameters of all trials read.
    """

    def __init__(self, prior: Prior = EVEN) -> None:
        self._prior = prior
        self._forget(None)

    def _forget(self, study: tuple[int, str] | None) -> None:
        self._study = study
        self.table = Table()
        self._curves: dict[int, Curve] = {}

    def knows(self, study: Study, most: int) -> bool:
        """Whether so many finished trials of this study, with values, were read before."""
        return self._study == (study._study_id, study.study_name) and (
            sum(map(bool, self._curves.values())) >= most
        )

    def read(self, study: Study, asking: int) -> TrialHistory:
        """What is known when trial number `asking` wants parameters, which is left out."""
        if self._study != (study._study_id, study.study_name):
            self._forget((study._study_id, study.study_name))
        trials = [
            trial
            for trial in study._get_trials(deepcopy=False, states=COUNTED, use_cache=True)
            if trial.number != asking and trial.params
        ]
        sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
        curves = [self._take_in(trial, sign) for trial in trials]
        running = np.array([trial.state == TrialState.RUNNING for trial in trials], dtype=bool)
        ends = [max(c) for c, runs in zip(curves, running, strict=True) if c and not runs]
        return TrialHistory(
            table=self.table,
            trials=[trial.number for trial in trials],
            curves=curves,
            running=running,
            ends=ends,
            prior=self._prior,
        )

    def _take_in(self, trial: FrozenTrial, sign: float) -> Curve:
        known = self._curves.get(trial.number)
        if known is not None:
            return known
        self.table.take_in(trial.number, trial.distributions, trial.params)
        curve = {epoch: sign * value for epoch, value in _curve(trial).items()}
        if trial.state.is_finished():
            self._curves[trial.number] = curve
        return curve


def _curve(trial: FrozenTrial) -> dict[int, float]:
    """The finite values of a trial by epoch; one that reported none has its value at epoch 1."""
    curve = {e: v for e, v in trial.intermediate_values.items() if e > 0 and np.isfinite(v)}
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if not curve and value is not None and np.isfinite(value):
        curve[1] = value
    return curve
