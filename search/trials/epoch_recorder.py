"""Writes a trial's epochs with what the scheduler says to them, each in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from fmnist_models.training.metrics import EpochMetrics
from search.schedulers.rules import Decision, TrialScheduler
from search.schedulers.stored_rungs import Rungs
from search.trials.foresight import Foresight
from search.trials.live_trial import LiveTrial
from search.trials.retry_chain import Chain
from storage import DecisionRow, EpochRow, StudyStore

RUNS_ON = "a known-good point runs on"


class Recorder:
    """The half of a session that writes epochs, decisions and the ends of trials.

    It keeps the study's rungs up to date; of a trial it knows only what a call tells.
    """

    def __init__(
        self,
        study: optuna.Study,
        store: StudyStore,
        launch_id: int,
        scheduler: TrialScheduler,
        train_images: int,
    ) -> None:
        self.study, self.store, self.launch_id = study, store, launch_id
        self.scheduler = scheduler
        self._at_end = Foresight(store, train_images).at_end
        self.rungs = Rungs(store, scheduler, self._at_end)

    def record(
        self, live: LiveTrial, epochs: Sequence[EpochMetrics], again: bool
    ) -> Decision | None:
        """Keep `epochs`, the last of which is `live.last`, and how the trial goes on after them.

        None means that it is COMPLETE. With `again` the decision of an attempt that was kept,
        though its answer was lost, is returned. Raises UpdateFinishedTrialError when another
        driver has ended the trial.
        """
        shared = any(self.scheduler.compares(live.root, m.epoch) for m in epochs)
        with self.store.transaction(None if shared else live.trial_id):
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
        state = self.store.trial(live.trial_id).state
        row = self.store.decision(live.number, live.last.epoch)
        if state == TrialState.COMPLETE:
            return state
        if row is None or state == TrialState.FAIL:
            return None
        return Decision.model_validate(row.model_dump(include=set(Decision.model_fields)))

    def _decide(self, live: LiveTrial, epochs: Sequence[EpochMetrics]) -> Decision:
        """The scheduler's word; known-good points run on, as the search must not end below them."""
        *before, last = (
            (m.epoch, self._at_end(live.number, m.epoch, m.val_accuracy or 0.0)) for m in epochs
        )
        for epoch, value in before:  # kept in the same transaction as what is decided now
            self.scheduler.observe(live.root, epoch, value)
        decision = self.scheduler.decide(live.root, *last)
        if decision.cutoff is not None and last[1] != (epochs[-1].val_accuracy or 0.0):
            reason = f"{decision.reason}, as expected after the last epoch"
            decision = decision.model_copy(update={"reason": reason})
        if decision.action == "stop" and live.known_good:
            reason = f"{RUNS_ON}, though {decision.reason}"
            return decision.model_copy(update={"action": "continue", "reason": reason})
        return decision

    def _write(
        self, live: LiveTrial, epochs: Sequence[EpochMetrics], decision: Decision | None
    ) -> None:
        key = {"number": live.number, "launch_id": self.launch_id}
        rows = [EpochRow.model_validate({**key, **m.model_dump()}) for m in epochs]
        word = DecisionRow.model_validate({**key, **decision.model_dump()}) if decision else None
        self.store.record_epochs(live.trial_id, rows, word)

    def _end(self, live: LiveTrial, state: TrialState, reason: str) -> None:
        trial = self.store.trial(live.trial_id)
        assert live.last is not None
        value = live.last.val_accuracy
        self.study.sampler.after_trial(self.study, trial, state, [value or 0.0])
        self.store.end_trial(trial, state, value, reason)

    def fail(self, trial_id: int, reason: str, again: Chain | None) -> bool:
        """End a trial as FAIL and queue what repeats it; whether it was this driver's to end."""
        try:
            with self.store.transaction():
                trial = self.store.trial(trial_id)
                if trial.state == TrialState.FAIL:  # by an attempt whose answer was lost?
                    return bool(trial.user_attrs.get("reason") == reason.splitlines()[0])
                self.study.sampler.after_trial(self.study, trial, TrialState.FAIL, None)
                self.store.fail_trial(trial, reason, again=again.attributes() if again else None)
        except UpdateFinishedTrialError:
            return False
        return True
