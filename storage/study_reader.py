"""All that is asked of one study in SQL, in Optuna's tables and in ours."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Select, Table, TextClause, and_, func, select

from storage import optuna_tables, tables
from storage.connections import Connections
from storage.launches import Launches
from storage.rows import (
    DecisionRow,
    EpochRow,
    JsonObject,
    ReportedValue,
    RunningTrial,
    TrialRecord,
)
from storage.standing import Standing
from storage.tables import columns_of


class StudyReader:
    """The questions to a study; see `StudyStore`, which answers them and writes as well."""

    def __init__(
        self, name: str, study_id: int, identity: JsonObject, connections: Connections
    ) -> None:
        self.name, self.study_id, self.identity = name, study_id, identity
        self.connections, self.url = connections, connections.url
        self.launches = Launches(connections, name)
        judged = optuna_tables.judged(connections.engine.dialect.name)
        self._standing = Standing(self._ask, judged)

    # Trials

    def counts(self) -> dict[str, int]:
        """How many trials are in each state, by its name; a state without any is left out.

        Those that others have ended are under `OUTSIDE`, whatever state they gave them.
        """
        return self._standing.counts()

    def complete(self) -> list[tuple[int, float]]:
        """Number and value of the search's COMPLETE trials, the best first, of equals the earliest.

        One that others have made COMPLETE, or given another value, is not among them.
        """
        return self._standing.complete()

    def best(self) -> tuple[int, float] | None:
        """The first of `complete`."""
        return next(iter(self.complete()), None)

    def trial_record(self, number: int) -> TrialRecord | None:
        """What our tables hold of a trial, or None where there is nothing."""
        rows = self.connections.rows(self._select(tables.trial, number))
        return TrialRecord.model_validate(dict(rows[0])) if rows else None

    def trial_records(self) -> list[TrialRecord]:
        """What our tables hold of all trials, by number."""
        rows = self.connections.rows(self._select(tables.trial, None))
        return [TrialRecord.model_validate(dict(row)) for row in rows]

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

    def deleted_trials(self) -> int:
        """How many trials somebody has deleted, by the numbers that are missing.

        Optuna counts trials to number the next one, which then takes the place of another.
        """
        ((in_all, *highest),) = self._ask(optuna_tables.NUMBERS)
        return int(max(-1 if number is None else number for number in highest) + 1 - in_all)

    def attributes(self, name: str) -> dict[int, JsonValue]:
        """The user attribute of this name of the trials that have it, by number."""
        rows = self._ask(optuna_tables.ATTRIBUTES, key=name)
        return {number: json.loads(value) for number, value in rows}

    def attribute(self, number: int, name: str) -> JsonValue:
        """The user attribute of this name of one trial, None where it has none."""
        values = self._ask(optuna_tables.ATTRIBUTE, key=name, number=number)
        return json.loads(values[0][0]) if values else None

    def configs(self) -> dict[int, dict[str, JsonValue]]:
        """The configurations of the trials that have one, as JSON values, by number."""
        trial = tables.trial
        query = select(trial.c.number, trial.c.config).where(trial.c.study_name == self.name)
        with self.connections.transaction() as connection:
            return {number: config for number, config in connection.execute(query) if config}

    # Epochs and decisions

    def epochs(self, number: int | None = None) -> list[EpochRow]:
        """The epochs of one trial, or of all, by trial and epoch."""
        rows = self.connections.rows(self._select(tables.epoch, number))
        return [EpochRow.model_validate(dict(row)) for row in rows]

    def decision(self, number: int, epoch: int) -> DecisionRow | None:
        """The decision after one epoch of a trial, or None where there is none."""
        query = self._select(tables.decision, number).where(tables.decision.c.epoch == epoch)
        rows = self.connections.rows(query)
        return DecisionRow.model_validate(dict(rows[0])) if rows else None

    def decisions(self) -> list[DecisionRow]:
        """The decisions on all trials, by trial and epoch."""
        rows = self.connections.rows(self._select(tables.decision, None))
        return [DecisionRow.model_validate(dict(row)) for row in rows]

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
        of_study = row.c.study_name == self.name
        is_of_trial = and_(trial.c.study_name == self.name, trial.c.number == row.c.number)
        is_the_same = and_(
            original.c.study_name == self.name,
            original.c.number == trial.c.retry_of,
            original.c.epoch == row.c.epoch,
            original.c.seconds == row.c.seconds,
        )
        taken_over = row.join(trial, is_of_trial).join(original, is_the_same)
        counted = [
            select(func.count()).select_from(rows).where(of_study).scalar_subquery()
            for rows in (row, taken_over)
        ]
        with self.connections.transaction() as connection:
            return int(connection.execute(select(counted[0] - counted[1])).scalar_one())

    def accuracies_at(self, epochs: Collection[int]) -> list[tuple[int, int, float]]:
        """Number, epoch and validation accuracy of all trials after these epochs, by number."""
        row = tables.epoch
        query = (
            select(row.c.number, row.c.epoch, row.c.val_accuracy)
            .where(row.c.study_name == self.name, row.c.epoch.in_(epochs))
            .order_by(row.c.number, row.c.epoch)
        )
        with self.connections.transaction() as connection:
            return [tuple(found) for found in connection.execute(query)]

    def longest(self) -> int:
        """The last epoch that any trial has reached; 0 where none has any."""
        row = tables.epoch
        query = select(func.max(row.c.epoch)).where(row.c.study_name == self.name)
        with self.connections.transaction() as connection:
            return int(connection.execute(query).scalar_one() or 0)

    def _ask(self, query: TextClause, **parameters: Any) -> list[tuple[Any, ...]]:
        known = {"study": self.study_id, "name": self.name}
        with self.connections.transaction() as connection:
            rows = connection.execute(query, {**known, **parameters})
            return [tuple(row) for row in rows]

    def _select(self, table: Table, number: int | None) -> Select[Any]:
        query = select(*columns_of(table)).where(table.c.study_name == self.name)
        if number is not None:
            query = query.where(table.c.number == number)
        return query.order_by(*table.primary_key.columns)
