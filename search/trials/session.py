"""One launch of a search, free of Ray: asks for configurations, takes in epochs, decides, records.

    next_trial -> StartedTrial, handed to a worker
    resume     -> TrialStatus, after the epochs that the worker found in a checkpoint
    report     -> TrialStatus, after each further epoch
    fail       -> it raised, diverged, ran out of memory, hung or lost its worker
    heartbeat  -> tells the other drivers of the study that this one lives, and looks after theirs
    close      -> whatever still runs is given up and queued again

All calls come from one thread, the only one of this driver to write to the database; `view` may be
called from others. What a call changes is one transaction, repeated while the database is away:
after any death an epoch is there with its decision and its consequence, or not at all.
States in Optuna: stopped by the scheduler PRUNED, all epochs COMPLETE, failed or interrupted FAIL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from fmnist_models.training.metrics import EpochMetrics
from search.schedulers.rank_correlation import RungWatch
from search.schedulers.rules import TrialScheduler
from search.signals import StopRequest
from search.trials.database_outage import Outage
from search.trials.driver_leases import Watch, reap
from search.trials.enough import Enough, Verdict
from search.trials.epoch_recorder import Recorder
from search.trials.live_trial import (
    EndedTrial,
    FaultLimits,
    LiveTrial,
    SearchObserver,
    SearchView,
    TrialStatus,
)
from search.trials.retry_chain import Chain, failure_reason, give_up
from search.trials.study import ended_from_outside, finished_trials, launch_sampler, optuna_study
from search.trials.trial_source import Slots, UnusableError
from search.workers.messages import Failure, StartedTrial
from spaces import Space, SpaceContext
from storage import OUTSIDE, StudyStore, trial_id_of

MOST_FAILURES = 10
"""So many trials in a row that fail and are not tried again end a search: the fault is not in
single configurations."""
LOOK_SECONDS = 1.0
"""How old the counts of the study may be, which other drivers change as well."""


class SearchSession:
    """The state of one launch; see the top of the file.

    `first_failure` is the reason of the first of the failures in a row. Once `enough` is tried only
    what is nearly done goes on.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        launch_id: int,
        space: Space,
        context: SpaceContext,
        scheduler: TrialScheduler,
        trials: int,
        limits: FaultLimits,
        observer: SearchObserver,
        stop: StopRequest,
        check_space: Callable[[], None],
        enough: Callable[[], Verdict | None] = lambda: None,
    ) -> None:
        self.store, self.launch_id = store, launch_id
        self.study = optuna_study(store, launch_sampler(store, launch_id, context))
        self.space, self.context, self.scheduler, self.trials = space, context, scheduler, trials
        self._limits, self._observer, self._check_space = limits, observer, check_space
        self.enough = Enough(lambda: self._outage.repeat(lambda again: enough()), observer.say)
        self._outage = Outage(
            store.url,
            min(limits.outage_seconds, store.connections.longest_lock_seconds),
            should_end=stop.is_interrupted,
            say=observer.say,
            forget=store.forget_session,
        )
        self._watch = Watch(store.launches, limits.lease_seconds)
        self._slots = Slots(self.study, store, launch_id, space, trials)
        self._recorder = Recorder(self.study, store, launch_id, scheduler, context.train_images)
        self._watch_rungs = RungWatch(self._recorder.rungs.curves, observer.say)
        self._live: dict[int, LiveTrial] = {}
        self._ended: list[EndedTrial] = []
        self.first_failure: str | None = None
        self._failures_in_a_row = 0  # that were not tried again
        self._lock = threading.Lock()
        self._last_heartbeat = time.monotonic()
        self._full_until = 0.0
        self._counts: dict[str, int] = {}
        self._look()

    @property
    def is_done(self) -> bool:
        """Whether the study has its total of finished trials, has enough, or fails without end."""
        has_all = finished_trials(self._counts) >= self.trials
        return has_all or self.is_hopeless or self.enough.is_over(list(self._live.values()))

    @property
    def is_hopeless(self) -> bool:
        """Whether the last trials have all failed."""
        return self._failures_in_a_row >= MOST_FAILURES

    def next_trial(self) -> StartedTrial | None:
        """A new trial, RUNNING in the study; None while those that run may complete the total.

        Raises what `check_space` raises, which finds no room for another trial.
        """
        while not (self.is_done or self.enough.verdict) and time.monotonic() >= self._full_until:
            self._check_space()
            # Where the answer was lost a slot may be taken that nobody knows of: see `_reap`.
            trial = self._outage.repeat(lambda again: self._slots.reserve())
            if trial is None:
                # Asked several times a second, the database need not be.
                self._full_until = time.monotonic() + LOOK_SECONDS
                return None
            started = self._start(trial)
            if started is not None:
                return started
        return None

    def _start(self, trial: optuna.Trial) -> StartedTrial | None:
        """Give a reserved trial its configuration; None when it is not to be trained."""
        number, chain = trial.number, Chain.of(trial.user_attrs)
        try:
            config = self._outage.repeat(
                lambda again: self._slots.configure(trial, self.context, again)
            )
        except UpdateFinishedTrialError:  # stopped for so long that it was taken for dead
            return None
        except UnusableError as error:
            self._refuse(trial, str(error))
            return None
        with self._lock:
            self._live[number] = LiveTrial(number, config, trial_id_of(trial), chain)
        if self._slots.is_queued(trial) and not self.context.of_queued.affordable(config.model):
            # On another day, or by someone with more time; what is sampled is as small as it gets.
            self._fail(number, "too slow here: see --trial-time and --max-epoch-time", None)
            return None
        return StartedTrial(
            number=number,
            config=config,
            resume_from=chain.repeats,
            micro_batches=chain.micro_batches,
        )

    def _refuse(self, trial: optuna.Trial, reason: str) -> None:
        """End a trial that has no configuration as FAIL, not to be tried again."""
        trial_id, is_sampled = trial_id_of(trial), not self._slots.is_queued(trial)
        if self._outage.repeat(lambda again: self._recorder.fail(trial_id, reason, None)):
            if is_sampled:  # who queues nonsense, ten times say, does not end the search
                self.first_failure = self.first_failure or reason
                self._failures_in_a_row += 1
            self._conclude(EndedTrial(trial.number, "FAIL", None, 0, reason))

    def report(self, number: int, metrics: EpochMetrics) -> TrialStatus:
        """Record an epoch and say how the trial stands after it.

        Of a trial that is not running (any more), which is lost, nothing is recorded.
        """
        return self._add_epochs(number, (metrics,))

    def resume(self, number: int, epochs: Sequence[EpochMetrics]) -> TrialStatus:
        """Record the epochs 1, 2, ... of a checkpoint as the trial's own; the rest as `report`.

        The last of them is decided upon, as nothing tells whether it was before.
        """
        return self._add_epochs(number, tuple(epochs))

    def _add_epochs(self, number: int, epochs: tuple[EpochMetrics, ...]) -> TrialStatus:
        if number not in self._live:
            return TrialStatus("lost")
        accuracies = [m.val_accuracy for m in epochs if m.val_accuracy is not None]
        if len(accuracies) < len(epochs):
            reason = "it reported no validation accuracy"
            self.fail(number, Failure(kind="bad_report", reason=reason))
            return TrialStatus("FAIL")
        before = self._live[number].accuracies
        live = replace(self._live[number], last=epochs[-1], accuracies=(*before, *accuracies))
        try:
            return self._record(live, epochs)
        except UpdateFinishedTrialError:
            self._lose(number)
            return TrialStatus("lost")

    def _record(self, live: LiveTrial, epochs: tuple[EpochMetrics, ...]) -> TrialStatus:
        """As `report`; raises UpdateFinishedTrialError if another driver has ended the trial."""
        decision = self._outage.repeat(lambda again: self._recorder.record(live, epochs, again))
        with self._lock:
            self._live[live.number] = live
        if decision is not None and decision.action == "continue":
            status = TrialStatus(None, decision)
        else:
            unneeded = (live.number, *live.chain.repeats)
            status = TrialStatus("PRUNED" if decision else "COMPLETE", decision, unneeded)
            reason = decision.reason if decision else str(live.ending)
            self._note_end(live, str(status.ended), reason)
        self._watch_rungs.look(decision)
        return status

    def fail(self, number: int, failure: Failure) -> None:
        """End a trial as FAIL, and queue one that repeats it where its kind of failure is worth it.

        The search goes on. Nothing happens if the trial is not running (any more).
        """
        if number in self._live:
            again = self._live[number].chain.after(number, failure, self._limits.retries)
            reason = failure_reason(failure, again)
            if self._fail(number, reason, again):
                self.first_failure = self.first_failure or reason
                self._failures_in_a_row += again is None

    def _fail(self, number: int, reason: str, again: Chain | None) -> bool:
        """End a trial as FAIL; whether it was this driver's to end."""
        live = self._live[number]
        if not self._outage.repeat(lambda _: self._recorder.fail(live.trial_id, reason, again)):
            self._lose(number)
            return False
        self._note_end(live, "FAIL", reason)
        return True

    def interrupt(self, reason: str) -> None:
        """Give up all trials that run through no fault of their own, and queue them again.

        As where a driver dies, one under which this happens again and again may be its cause.
        """
        for live in list(self._live.values()):
            self._give_up(live.trial_id, reason)
            self._note_end(live, "FAIL", reason)

    def _give_up(self, trial_id: int, reason: str) -> None:
        self._outage.repeat(lambda again: give_up(self.store, trial_id, reason, died=True))

    def _lose(self, number: int) -> None:
        """Let go of a trial that a person has ended, or a driver that took this one for dead."""
        self._observer.say(
            f"trial {number} was ended elsewhere: by a driver that had not heard of this one (then "
            "it is queued again), or by hand (then it does not count)"
        )
        with self._lock:
            del self._live[number]

    def _note_end(self, live: LiveTrial, state: str, reason: str) -> None:
        epochs, last = (live.last.epoch, live.last.val_accuracy) if live.last else (0, None)
        value = None if state == "FAIL" else last
        self._conclude(EndedTrial(live.number, state, value, epochs, reason))

    def _conclude(self, ended: EndedTrial) -> None:
        with self._lock:
            self._live.pop(ended.number, None)
            self._ended.append(ended)
        if ended.state != "FAIL":
            self.first_failure, self._failures_in_a_row = None, 0
        self._full_until = 0.0
        self._look()
        self._observer.trial_ended(ended)
        self.enough.ask()

    def _look(self) -> None:
        """Read where the study stands."""
        self._looked = time.monotonic()
        counts = self._outage.repeat(lambda again: self.store.counts())
        best = self._outage.repeat(lambda again: self.store.best())
        new = counts.get(OUTSIDE, 0) - self._counts.get(OUTSIDE, 0)
        with self._lock:
            self._counts, self._best = counts, best
        if new > 0:
            self._observer.say(ended_from_outside(new))

    def heartbeat(self) -> None:
        """Tell the other drivers that this one lives, and queue again what dead ones left.

        Cheap to call several times a second, as it should be.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._look()
        if now - self._last_heartbeat >= self._watch.heartbeat_seconds:
            self._last_heartbeat = now
            self._outage.repeat(lambda again: self.store.launches.heartbeat(self.launch_id))
            for number in self._outage.repeat(lambda again: self._reap()):
                self._observer.say(f"trial {number} was left by a driver that died: queued again")

    def _reap(self) -> list[int]:
        mine = self.launch_id, frozenset(self._live)
        return reap(self.store, self._watch.living(), mine=mine)

    def close(self, outcome: str) -> None:
        """Give up what still runs (to be queued again) and end the launch with its outcome."""
        self._outage.repeat(lambda again: self._give_up_all(outcome))
        with self._lock:
            self._live.clear()
        self._look()
        self._outage.repeat(lambda again: self.store.launches.end(self.launch_id, outcome))

    def _give_up_all(self, outcome: str) -> None:
        for trial in self.store.running_trials():
            if trial.launch_id == self.launch_id:
                reason = f"{outcome} while it ran"
                give_up(self.store, trial.trial_id, reason)

    def view(self) -> SearchView:
        """What the display shows; safe to call from another thread."""
        with self._lock:
            counts = {state: self._counts.get(state, 0) for state in ("COMPLETE", "PRUNED", "FAIL")}
            live, elsewhere = tuple(self._live.values()), self._counts.get("RUNNING", 0)
            elsewhere = max(0, elsewhere - len(live))
            return SearchView(live, counts, self._best, tuple(self._ended), elsewhere)
