"""All that is asked and written about one study, in Optuna's tables and in ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from sqlalchemy import Select, Table, TextClause, and_, func, select

from storage import optuna_tables, tables
from storage.connections import Connections
from storage.error_translation import storage_errors
from storage.launches import Launches
from storage.optuna_tables import queued_parameters, trial_id_of
from storage.rows import (
    DecisionRow,
    EpochRow,
    JsonObject,
    ReportedValue,
    RunningTrial,
    TrialRecord,
)
from storage.tables import columns_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial, TrialState

    from storage.optuna_storage import Parameter, SearchRDBStorage

RETRY_OF = "retry_of"
"""User attribute of a trial that repeats another one: the number of that one."""
_COUNTED = ("COMPLETE", "PRUNED", "RUNNING")


class StudyStore:
    """One study, opened by `Database.open_study`.

    `name` and `study_id` are Optuna's; `identity` is what all trials of the study have in common.
    Each method is a transaction of its own where it is not called inside of `transaction`. When the
    database is locked for too long, its disk is full or its server is gone, it raises
    StorageUnavailable, or an error of Optuna's that as_storage_error puts into words.
    """

    def __init__(
        self,
        name: str,
        study_id: int,
        identity: JsonObject,
        connections: Connections,
        rdb_storage: SearchRDBStorage,
    ) -> None:
        self.name, self.study_id, self.identity = name, study_id, identity
        self.connections, self.url = connections, connections.url
        self.launches = Launches(connections, name)
        self._rdb = rdb_storage

    @cached_property
    def optuna_storage(self) -> BaseStorage:
        """What an optuna.Study of this study stands on; it remembers the trials that have ended."""
        return self._rdb.cached()

    @contextmanager
    def transaction(self, trial_id: int | None = None) -> Iterator[None]:
        """Keep all that the block does, in Optuna's tables and in ours, together or not at all.

        One process and thread at a time is in such a block of the study, so that what it reads
        still holds when it writes. With `trial_id` the block is about that trial alone and waits
        only for others that are. On SQLite blocks wait for each other in any case. Reads see what
        the block has written. Not re-entrant.

        Raises StorageUnavailable, with nothing kept, when the database fails or the study is gone.
        """
        with (
            storage_errors(self.url),
            self._rdb.joined(self.study_id, trial_id) as connection,
            self.connections.joined(connection),
        ):
            yield

    def forget_session(self) -> None:
        """Let go of a connection that may be broken, before the next attempt."""
        self._rdb.remove_session()

    # Trials

    def reserve(self, ask: Callable[[], Trial], total: int, launch_id: int) -> Trial | None:
        """The trial that `ask` gives, the launch's from now on; None when `total` are taken.

        Exact between any number of drivers: finished and running trials are counted, and the new
        one made, in one transaction.
        """
        with self.transaction():
            counts = self.counts()
            if sum(counts.get(state, 0) for state in _COUNTED) >= total:
                return None
            trial = ask()
            self.add_trial(trial.number, launch_id, {}, _retry_of(trial))
        return trial

    def parameters_held_back(self) -> AbstractContextManager[list[Parameter]]:
        """Collect what a trial is suggested in the block, for `configure` to keep it in one go."""
        return self._rdb.parameters_held_back()

    def configure(
        self,
        trial: Trial,
        launch_id: int,
        config: Mapping[str, JsonValue],
        parameters: Sequence[Parameter],
    ) -> None:
        """Keep the configuration of a reserved trial and the parameters that it was made of.

        Raises UpdateFinishedTrialError when another driver has ended the trial.
        """
        with self.transaction(trial_id_of(trial)):
            self._rdb.keep_parameters(trial_id_of(trial), parameters)
            self.add_trial(trial.number, launch_id, config, _retry_of(trial))

    def add_trial(
        self,
        number: int,
        launch_id: int,
        config: Mapping[str, JsonValue],
        retry_of: int | None = None,
    ) -> None:
        """Keep the configuration of a trial; added again, it is replaced but for its reason."""
        values = {"launch_id": launch_id, "config": dict(config), "retry_of": retry_of}
        self._put(tables.trial, {"number": number, **values}, replace=values)

    def set_reason(self, number: int, reason: str) -> None:
        """Keep why a trial was stopped or failed, even of a trial that was never added."""
        values = {"number": number, "config": {}, "reason": reason}
        self._put(tables.trial, values, replace={"reason": reason})

    def end_trial(
        self, trial: FrozenTrial, state: TrialState, value: float | None, reason: str
    ) -> None:
        """End a running trial; inside `transaction` only.

        As `Study.tell` does, but by the trial's identifier: Optuna's cache of numbers may hold one
        of a transaction that was undone. Raises UpdateFinishedTrialError where another driver was
        first.
        """
        trial_id, values = trial_id_of(trial), None if value is None else [value]
        # For optuna-dashboard, which shows user attributes and not our tables.
        self._rdb.set_trial_user_attr(trial_id, "reason", reason.splitlines()[0])
        self.set_reason(trial.number, reason)
        self._rdb.set_trial_state_values(trial_id, state, values)

    def fail_trial(
        self,
        trial: FrozenTrial,
        reason: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        again: Mapping[str, Any] | None = None,
    ) -> None:
        """End a running trial as FAIL; inside `transaction` only.

        `attributes` are user attributes that it gets. With `again` a trial with these user
        attributes and its parameters is queued, unless it has no parameters. Errors as `end_trial`.
        """
        from optuna.trial import TrialState

        for name, value in (attributes or {}).items():
            self._rdb.set_trial_user_attr(trial_id_of(trial), name, value)
        self.end_trial(trial, TrialState.FAIL, None, reason)
        # Killed before it was asked for all its parameters, a queued trial has them only there.
        parameters = {**(queued_parameters(trial) or {}), **trial.params}
        if again is not None and parameters:
            self._rdb.queue_trial(self.study_id, parameters, again)

    def trial(self, trial_id: int) -> FrozenTrial:
        """A trial as Optuna keeps it."""
        return self._rdb.get_trial(trial_id)

    def trials(self) -> list[FrozenTrial]:
        """All trials as Optuna keeps them, by number; not to be changed."""
        return self.optuna_storage.get_all_trials(self.study_id, deepcopy=False)

    def trial_record(self, number: int) -> TrialRecord | None:
        """What our tables hold of a trial, or None where there is nothing."""
        rows = self.connections.rows(self._select(tables.trial, number))
        return TrialRecord.model_validate(dict(rows[0])) if rows else None

    def running_trials(self) -> list[RunningTrial]:
        """The RUNNING trials, by number, with the launches that they belong to."""
        return [RunningTrial(*row) for row in self._ask(optuna_tables.RUNNING)]

    def retries(self) -> dict[int, int]:
        """Which trial each trial that repeats another one repeats, by number."""
        trial = tables.trial
        query = select(trial.c.number, trial.c.retry_of).where(
            trial.c.study_name == self.name, trial.c.retry_of.is_not(None)
        )
        return {row["number"]: row["retry_of"] for row in self.connections.rows(query)}

    def counts(self) -> dict[str, int]:
        """How many trials are in each state, by its name; a state without any is left out."""
        return {row[0]: row[1] for row in self._ask(optuna_tables.COUNTS)}

    def best(self) -> tuple[int, float] | None:
        """Number and value of the best COMPLETE trial, of equals the earliest."""
        return next(((row[0], row[1]) for row in self._ask(optuna_tables.BEST)), None)

    # Epochs and decisions

    def record_epochs(
        self, trial_id: int, epochs: Sequence[EpochRow], decision: DecisionRow | None
    ) -> None:
        """Keep epochs of a running trial, and the scheduler's word after the last of them.

        What is there of the same epochs is replaced. Inside `transaction` only. Raises
        UpdateFinishedTrialError when another driver has ended the trial.
        """
        for epoch in epochs:
            self._rdb.set_trial_intermediate_value(trial_id, epoch.epoch, epoch.val_accuracy)
            self._put(tables.epoch, epoch.model_dump())
        if decision is not None:
            values = {**decision.model_dump(), "created_at": self.connections.clock()}
            self._put(tables.decision, values)

    def epochs(self, number: int | None = None) -> list[EpochRow]:
        """The epochs of one trial, or of all, by trial and epoch."""
        rows = self.connections.rows(self._select(tables.epoch, number))
        return [EpochRow.model_validate(dict(row)) for row in rows]

    def decision(self, number: int, epoch: int) -> DecisionRow | None:
        """The decision after one epoch of a trial, or None where there is none."""
        query = self._select(tables.decision, number).where(tables.decision.c.epoch == epoch)
        rows = self.connections.rows(query)
        return DecisionRow.model_validate(dict(rows[0])) if rows else None

    def values_after(self, after: int) -> list[ReportedValue]:
        """The intermediate values with an id above `after`, in the order of their ids.

        Ids rise in the order in which values are kept where `transaction` holds the study;
        elsewhere a driver may keep a value that has a lower id than one that is there already.
        """
        return [ReportedValue(*row) for row in self._ask(optuna_tables.VALUES_AFTER, after=after)]

    def rungs(self) -> list[int]:
        """At which epochs the last launch that compared trials did so, ascending.

        Epochs at which a scheduler compares without a rung are not among them.
        """
        decision = tables.decision
        at_rungs = and_(decision.c.study_name == self.name, decision.c.rung.is_not(None))
        last = select(func.max(decision.c.launch_id)).where(at_rungs).scalar_subquery()
        query = select(decision.c.rung).where(at_rungs, decision.c.launch_id == last).distinct()
        return sorted(row["rung"] for row in self.connections.rows(query))

    def epoch_count(self) -> int:
        """How many epochs were trained.

        What a trial took over from the one that it goes on from was trained once: such a row has
        the very duration of its original.
        """
        row, trial, original = tables.epoch, tables.trial, tables.epoch.alias("original")
        is_of_trial = and_(trial.c.study_name == self.name, trial.c.number == row.c.number)
        is_the_same = and_(
            original.c.study_name == self.name,
            original.c.number == trial.c.retry_of,
            original.c.epoch == row.c.epoch,
            original.c.seconds == row.c.seconds,
        )
        query = (
            select(func.count())
            .select_from(row.outerjoin(trial, is_of_trial).outerjoin(original, is_the_same))
            .where(row.c.study_name == self.name, original.c.number.is_(None))
        )
        with self.connections.transaction() as connection:
            return connection.execute(query).scalar_one()

    def _ask(self, query: TextClause, **parameters: int) -> list[tuple[Any, ...]]:
        known = {"study": self.study_id, "name": self.name}
        with self.connections.transaction() as connection:
            rows = connection.execute(query, {**known, **parameters})
            return [tuple(row) for row in rows]

    def _select(self, table: Table, number: int | None) -> Select[Any]:
        query = select(*columns_of(table)).where(table.c.study_name == self.name)
        if number is not None:
            query = query.where(table.c.number == number)
        return query.order_by(*table.primary_key.columns)

    def _put(
        self, table: Table, values: dict[str, Any], replace: Mapping[str, Any] | None = None
    ) -> None:
        """Insert a row of the study; of an existing one only `replace` (all, if None) changes."""
        row = {"study_name": self.name, **values}
        self.connections.upsert(table, row, values if replace is None else replace)


def _retry_of(trial: Trial) -> int | None:
    """What a trial repeats, if it is a number: anybody may have queued it."""
    number = trial.user_attrs.get(RETRY_OF)
    return number if isinstance(number, int) else None
