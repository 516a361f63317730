"""Writes a trial's epochs with what the scheduler says to them, each in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from fmnist_models.training.metrics import EpochMetrics
from search.schedulers.rules import Decision, TrialScheduler
from search.schedulers.stored_rungs import Rungs
from search.trials.endings import end, end_as_failed
from search.trials.live_trial import LiveTrial
from search.trials.retry_chain import Chain
from storage import Database, DecisionRow, EpochRow

RUNS_ON = "a known-good point runs on"


class Recorder:
    """The writing half of a session; knows the study's rungs, and of a trial what it is told."""

    def __init__(
        self,
        study: optuna.Study,
        database: Database,
        launch_id: int,
        scheduler: TrialScheduler,
    ) -> None:
        self.study, self.database, self.launch_id = study, database, launch_id
        self.scheduler = scheduler
        self.rungs = Rungs(database, study._study_id, study.study_name, scheduler)

    def record(
        self, live: LiveTrial, epochs: Sequence[EpochMetrics], again: bool
    ) -> Decision | None:
        """Keep `epochs`, the last of which is `live.last`, and how the trial goes on after them.

        None means that it is COMPLETE. With `again` what was kept before is given back. Raises
        UpdateFinishedTrialError when another driver has ended the trial.
        """
        shared = any(self.scheduler.compares(live.root, m.epoch) for m in epochs)
        study_id, trial_id = self.study._study_id, live.trial_id
        with self.database.transaction(study_id, None if shared else trial_id):
            if again and (kept := self._kept(live)) is not None:
                return None if isinstance(kept, TrialState) else kept
            if shared:
                self.rungs.refresh()
            decision = None if live.ending else self._decide(live, epochs)
            self._write(live, epochs, decision)
            if live.ending:
                self._end(live, TrialState.COMPLETE, live.ending)
            elif decision and decision.action == "stop":
                self._end(live, TrialState.PRUNED, decision.reason)
        return decision

    def _kept(self, live: LiveTrial) -> Decision | TrialState | None:
        """What an attempt whose answer was lost has kept: a decision, COMPLETE, or nothing."""
        assert live.last is not None
        state = self.database.optuna_storage.get_trial(live.trial_id).state
        row = self.database.decision(self.study.study_name, live.number, live.last.epoch)
        if state == TrialState.COMPLETE:
            return state
        if row is None or state == TrialState.FAIL:
            return None
        kept = row.model_dump(include=set(Decision.model_fields))
        return Decision.model_validate(kept)

    def _decide(self, live: LiveTrial, epochs: Sequence[EpochMetrics]) -> Decision:
        """The scheduler's word; known-good points run on, as the search must not end below them."""
        *before, last = epochs
        for metrics in before:  # kept in the same transaction as what is decided now
            self.scheduler.observe(live.root, metrics.epoch, metrics.val_accuracy or 0.0)
        decision = self.scheduler.decide(live.root, last.epoch, last.val_accuracy or 0.0)
        if decision.action == "stop" and live.known_good:
            reason = f"{RUNS_ON}, though {decision.reason}"
            return decision.model_copy(update={"action": "continue", "reason": reason})
        return decision

    def _write(
        self, live: LiveTrial, epochs: Sequence[EpochMetrics], decision: Decision | None
    ) -> None:
        storage = self.database.optuna_storage
        key = {
            "study_name": self.study.study_name,
            "number": live.number,
            "launch_id": self.launch_id,
        }
        for metrics in epochs:
            storage.set_trial_intermediate_value(
                live.trial_id, metrics.epoch, metrics.val_accuracy or 0.0
            )
            self.database.add_epoch(EpochRow.model_validate({**key, **metrics.model_dump()}))
        if decision is not None:
            self.database.add_decision(DecisionRow.model_validate({**key, **decision.model_dump()}))

    def _end(self, live: LiveTrial, state: TrialState, reason: str) -> None:
        trial = self.database.optuna_storage.get_trial(live.trial_id)
        assert live.last is not None
        end(self.database, self.study, trial, state, live.last.val_accuracy, reason)

    def fail(self, live: LiveTrial, reason: str, again: Chain | None) -> bool:
        """End a trial as FAIL and queue what repeats it; whether it was this driver's to end."""
        try:
            with self.database.transaction(self.study._study_id):
                trial = self.database.optuna_storage.get_trial(live.trial_id)
                if trial.state == TrialState.FAIL:  # by an attempt whose answer was lost?
                    return bool(trial.user_attrs.get("reason") == reason.splitlines()[0])
                end_as_failed(self.database, self.study, trial, reason, again)
        except UpdateFinishedTrialError:
            return False
        return True
