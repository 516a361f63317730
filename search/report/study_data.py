"""A study read once, whole: what every table, figure and page of this package is made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import isfinite
from typing import get_args

from optuna.trial import FrozenTrial, TrialState

from search.errors import UsageError
from search.results.summary import Summary, summarize
from search.trials.retry_chain import INTERRUPTED, KNOWN_GOOD
from search.workers.messages import FailureKind
from storage import DecisionRow, EpochRow, JsonObject, Launch, StudyStore, TrialRecord

NO_RECORD = TrialRecord(number=-1, launch_id=None, config={}, retry_of=None, reason=None)
FAILURE_KINDS: tuple[str, ...] = get_args(FailureKind)


@dataclass(frozen=True)
class StudyRuns:
    """What the trials of one study did, as it stood when it was read.

    `trials` are Optuna's, by number; those that others have ended are FAIL. `epochs` are those of
    each trial, by its number; what a trial took over from the one that it repeats, as `retry_of`
    says, is among them.
    """

    name: str
    identity: JsonObject
    launches: Sequence[Launch]
    trials: Sequence[FrozenTrial]
    retry_of: Mapping[int, int]
    epochs: Mapping[int, Sequence[EpochRow]]

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """The COMPLETE trials by number."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE]

    @cached_property
    def points(self) -> list[FrozenTrial]:
        """The known-good starting points among `complete`, the best first."""
        known = [trial for trial in self.complete if KNOWN_GOOD in trial.user_attrs]
        return sorted(known, key=lambda trial: -(trial.value or 0.0))

    def own_epochs(self, number: int) -> list[EpochRow]:
        """The epochs that a trial trained itself, without those that it took over.

        What was taken over has the very duration of its original.
        """
        originals = self.epochs.get(self.retry_of.get(number, -1), ())
        taken = {(e.epoch, e.seconds) for e in originals}
        return [e for e in self.epochs.get(number, ()) if (e.epoch, e.seconds) not in taken]

    def seconds(self, number: int) -> float:
        """How long a trial trained and validated, without what it took over."""
        return sum(e.seconds for e in self.own_epochs(number) if isfinite(e.seconds))


@dataclass(frozen=True)
class StudyData(StudyRuns):
    """All that the database holds of one study, as it stood when it was read."""

    summary: Summary
    records: Mapping[int, TrialRecord]
    decisions: Mapping[tuple[int, int], DecisionRow]

    def record(self, number: int) -> TrialRecord:
        """What our tables hold of a trial; an empty record where they hold nothing."""
        return self.records.get(number, NO_RECORD)


def read_runs(store: StudyStore) -> StudyRuns:
    """What the study's trials did until now; raises UsageError where none has been begun."""
    trials, launches = store.trials(), store.launches.all()
    if not trials or not launches:
        raise UsageError(
            f"study {store.name!r} has no trial yet; search first, or name another --study"
        )
    epochs = defaultdict(list)
    for row in store.epochs():
        epochs[row.number].append(row)
    return StudyRuns(
        name=store.name,
        identity=store.identity,
        launches=launches,
        trials=trials,
        retry_of=store.retries(),
        epochs=epochs,
    )


def read_study(store: StudyStore) -> StudyData:
    """The study as it stands now; raises UsageError where no trial has been begun."""
    return StudyData(
        **vars(read_runs(store)),
        summary=summarize(store),
        records={record.number: record for record in store.trial_records()},
        decisions={(row.number, row.epoch): row for row in store.decisions()},
    )


def in_utc(time: datetime | None) -> datetime | None:
    """A time of Optuna's, which keeps the driver's local one without a zone, in UTC."""
    return time.astimezone(UTC) if time else None


def failure_kind(trial: FrozenTrial, record: TrialRecord) -> str | None:
    """Which class of failure ended a trial; None where none did."""
    if trial.state != TrialState.FAIL:
        return None
    if INTERRUPTED in trial.user_attrs:
        return "interrupted"
    kind = (record.reason or "").partition(":")[0].replace(" ", "_")
    return kind if kind in (*FAILURE_KINDS, "no_configuration") else "other"
