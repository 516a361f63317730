"""One launch of a search, free of Ray: asks for configurations, takes in epochs, decides, records.

    next_trial -> StartedTrial, handed to a worker
    report     -> Decision, after each epoch of it
    fail       -> it raised, diverged or lost its worker
    close      -> whatever still runs is given up and queued again

All calls come from one thread, the only writer to the database; `view` may be called from others.
States in Optuna: stopped by the scheduler PRUNED, all epochs COMPLETE, failed or interrupted FAIL.
"""

from __future__ import annotations

import threading
import time
import warnings
from dataclasses import dataclass, field, replace

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from fmnist_models.config import Config, TrialConfig
from fmnist_models.metrics import EpochMetrics
from fmnist_models.schedules import out_of_patience
from search.schedulers import Decision, TrialScheduler
from search.study import HEARTBEAT_SECONDS, KNOWN_GOOD, RETRY_OF, finished, give_up
from spaces import Space, SpaceContext
from storage import Database, DecisionRow, EpochRow

RUNS_ON = "a known-good point runs on"
MOST_FAILURES = 10
"""So many failures in a row end a search: the fault is not in single configurations."""


class StartedTrial(Config):
    """A trial to be trained: its number in the study and its configuration."""

    number: int
    config: TrialConfig


@dataclass(frozen=True)
class LiveTrial:
    """A running trial as the display shows it; `last` is None before its first epoch."""

    number: int
    config: TrialConfig
    known_good: bool = False
    last: EpochMetrics | None = None
    accuracies: tuple[float, ...] = ()

    @property
    def ending(self) -> str | None:
        """Why a trial with these epochs is COMPLETE, or None if it is not yet."""
        if self.last and self.last.epoch >= self.config.epochs:
            return "all epochs done"
        if out_of_patience(self.accuracies, self.config.patience):
            return f"no better in the last {self.config.patience} epochs (patience)"
        return None


@dataclass(frozen=True)
class Ended:
    """A trial that ended in this launch, for the display; `value` as Optuna keeps it."""

    number: int
    state: str
    value: float | None
    epochs: int
    reason: str


@dataclass(frozen=True)
class View:
    """A consistent picture of the session for the display."""

    running: tuple[LiveTrial, ...]
    counts: dict[str, int]
    best: tuple[int, float] | None
    ended: tuple[Ended, ...]


@dataclass
class _Tally:
    counts: dict[str, int] = field(default_factory=lambda: {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0})
    best: tuple[int, float] | None = None
    failures_in_a_row: int = 0
    first_failure: str | None = None


class SearchSession:
    """The state of one launch; see the top of the file."""

    def __init__(
        self,
        study: optuna.Study,
        database: Database,
        launch_id: int,
        space: Space,
        context: SpaceContext,
        scheduler: TrialScheduler,
        trials: int,
    ) -> None:
        self.study, self.database, self.launch_id = study, database, launch_id
        self.space, self.context, self.scheduler, self.trials = space, context, scheduler, trials
        self.epochs_trained = 0
        self._live: dict[int, tuple[optuna.Trial, LiveTrial]] = {}
        self._ended: list[Ended] = []
        self._tally = _Tally()
        self._lock = threading.Lock()
        self._last_heartbeat = time.monotonic()
        self._recall()

    def _recall(self) -> None:
        """Take in what the study already holds: counts, the best, and the scheduler's values."""
        past = self.study.get_trials(deepcopy=False)
        for trial in past:
            if trial.state.name in self._tally.counts:
                self._tally.counts[trial.state.name] += 1
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                self._note_best(trial.number, trial.value)
        for trial in finished(past):
            for epoch, value in trial.intermediate_values.items():
                self.scheduler.observe(trial.number, epoch, value)

    @property
    def is_done(self) -> bool:
        """Whether the study has its total of finished trials, or fails without end."""
        return self._finished >= self.trials or self.is_hopeless

    @property
    def is_hopeless(self) -> bool:
        """Whether the last trials have all failed."""
        return self._tally.failures_in_a_row >= MOST_FAILURES

    @property
    def first_failure(self) -> str | None:
        """The reason of the first of the failures in a row."""
        return self._tally.first_failure

    @property
    def _finished(self) -> int:
        return self._tally.counts["COMPLETE"] + self._tally.counts["PRUNED"]

    def next_trial(self) -> StartedTrial | None:
        """A new trial, RUNNING in the study; None while those that run may complete the total."""
        if self.is_done or self._finished + len(self._live) >= self.trials:
            return None
        trial = self.study.ask()
        try:
            config = self._configure(trial)
        except BaseException:
            asked = self.study.get_trials(deepcopy=False)[trial.number]
            give_up(self.database, self.study, asked, "the driver failed; queued again")
            raise
        with self._lock:
            known_good = KNOWN_GOOD in trial.user_attrs
            self._live[trial.number] = trial, LiveTrial(trial.number, config, known_good)
        if not self.context.affordable(config.model) and self._is_queued(trial):
            # On another day, or by someone with more time; what is sampled is as small as it gets.
            self.fail(trial.number, "too slow: an epoch would take longer than --max-epoch-time")
            return self.next_trial()
        return StartedTrial(number=trial.number, config=config)

    def _is_queued(self, trial: optuna.Trial) -> bool:
        return "fixed_params" in self.study.get_trials(deepcopy=False)[trial.number].system_attrs

    def _configure(self, trial: optuna.Trial) -> TrialConfig:
        """Sample the configuration of a trial and record it."""
        with warnings.catch_warnings():
            # A queued value that this machine can't afford; `next_trial` sees to that.
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")
            sampled = self.space.suggest(trial, self.context)
        seed = (self.context.seed + trial.number) % 2**31
        config = sampled.model_copy(update={"seed": seed})
        self.database.add_trial(
            self.study.study_name,
            trial.number,
            self.launch_id,
            config.model_dump(mode="json"),
            retry_of=trial.user_attrs.get(RETRY_OF),
        )
        return config

    def report(self, number: int, metrics: EpochMetrics) -> Decision | None:
        """Record an epoch and say how the trial goes on; None when it is COMPLETE.

        A trial that is not running (any more) is told to stop and nothing is recorded.
        """
        accuracy = metrics.val_accuracy
        if accuracy is None:
            self.fail(number, "it reported no validation accuracy")
        elif number in self._live:
            try:
                return self._take_in(number, metrics, accuracy)
            except UpdateFinishedTrialError:
                self._lose(number)
        return Decision(
            action="stop", epoch=metrics.epoch, value=0.0, reason="the trial is not running"
        )

    def _take_in(self, number: int, metrics: EpochMetrics, accuracy: float) -> Decision | None:
        """As `report`; raises UpdateFinishedTrialError if another driver has ended the trial."""
        trial, live = self._live[number]
        trial.report(accuracy, metrics.epoch)
        live = replace(live, last=metrics, accuracies=(*live.accuracies, accuracy))
        with self._lock:
            self._live[number] = trial, live
        self.epochs_trained += 1
        name = self.study.study_name
        row = EpochRow(
            study_name=name, number=number, launch_id=self.launch_id, **metrics.model_dump()
        )
        if live.ending:
            self.database.add_epoch(row)
            self._end(number, TrialState.COMPLETE, accuracy, live.ending)
            return None
        decision = self._decide(live, metrics.epoch, accuracy)
        self.database.record_epoch(
            row,
            DecisionRow(
                study_name=name, number=number, launch_id=self.launch_id, **decision.model_dump()
            ),
        )
        if decision.action == "stop":
            self._end(number, TrialState.PRUNED, accuracy, decision.reason)
        return decision

    def _decide(self, live: LiveTrial, epoch: int, value: float) -> Decision:
        """The scheduler's word; known-good points run on, as the search must not end below them."""
        decision = self.scheduler.decide(live.number, epoch, value)
        if decision.action == "stop" and live.known_good:
            reason = f"{RUNS_ON}, though {decision.reason}"
            return decision.model_copy(update={"action": "continue", "reason": reason})
        return decision

    def fail(self, number: int, reason: str) -> None:
        """End a trial as FAIL with the reason; the search goes on."""
        if number in self._live:
            try:
                self._end(number, TrialState.FAIL, None, reason)
            except UpdateFinishedTrialError:
                self._lose(number)

    def _lose(self, number: int) -> None:
        """Let go of a trial that another driver, which took this one for dead, has queued again."""
        with self._lock:
            del self._live[number]

    def _end(self, number: int, state: TrialState, value: float | None, reason: str) -> None:
        trial, live = self._live[number]
        trial.set_user_attr("reason", reason.splitlines()[0])  # for the dashboard
        self.database.set_reason(self.study.study_name, number, reason)
        # Told PRUNED or FAIL, Optuna takes no value and keeps the last one reported.
        self.study.tell(trial, value if state == TrialState.COMPLETE else None, state)
        with self._lock:
            del self._live[number]
            epochs = live.last.epoch if live.last else 0
            self._ended.append(Ended(number, state.name, value, epochs, reason))
            self._tally.counts[state.name] += 1
            if state == TrialState.FAIL:
                self._tally.failures_in_a_row += 1
                self._tally.first_failure = self._tally.first_failure or reason
            else:
                self._tally.failures_in_a_row, self._tally.first_failure = 0, None
            if state == TrialState.COMPLETE and value is not None:
                self._note_best(number, value)

    def _note_best(self, number: int, value: float) -> None:
        if self._tally.best is None or value > self._tally.best[1]:
            self._tally.best = number, value

    def heartbeat(self) -> None:
        """Tell the other drivers that this one lives; cheap to call often."""
        now = time.monotonic()
        if now - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            self.database.heartbeat(self.launch_id)

    def close(self, outcome: str) -> None:
        """Give up what still runs (to be queued again) and end the launch with its outcome."""
        for number in list(self._live):
            frozen = self.study.get_trials(deepcopy=False)[number]
            give_up(self.database, self.study, frozen, f"{outcome} while it ran; queued again")
            with self._lock:
                del self._live[number]
                self._tally.counts["FAIL"] += 1
        self.database.end_launch(self.launch_id, outcome)

    def view(self) -> View:
        """What the display shows; safe to call from another thread."""
        with self._lock:
            return View(
                running=tuple(live for _, live in self._live.values()),
                counts=dict(self._tally.counts),
                best=self._tally.best,
                ended=tuple(self._ended),
            )
