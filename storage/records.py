"""Reading and writing our tables."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Insert,
    RowMapping,
    Select,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from storage import tables
from storage.error_translation import storage_errors
from storage.errors import StorageUnavailable
from storage.rows import DecisionRow, EpochRow, JsonObject, Launch, LaunchStart, TrialRecord


class Records:
    """Our tables in one database, over one engine.

    What a method wrote outlives the process once it returned (in `Database.transaction`: once the
    block has ended). Times are UTC by the database's
    clock. Each method raises StorageUnavailable when the database is locked for too long, its disk
    is full or its server is gone.
    """

    def __init__(self, engine: Engine, url: str) -> None:
        self.url = url
        self._engine = engine
        self._local = threading.local()

    def now(self) -> datetime:
        """Give back the time (UTC) by the clock that sets all times in the database."""
        clock = self._clock()
        if isinstance(clock, datetime):
            return clock
        with self._transaction() as connection:
            return connection.execute(select(clock)).scalar_one().astimezone(UTC)

    def remember_study(self, study_name: str, identity: Mapping[str, JsonValue]) -> JsonObject:
        """Keep what the study must not change, and give back what is kept.

        The first to come wins: of an existing study the old identity is given back, unchanged.
        """
        values = {
            "study_name": study_name,
            "identity": dict(identity),
            "created_at": self._clock(),
        }
        with self._transaction() as connection:
            connection.execute(self._upsert(tables.study, values, replace=()))
            kept: JsonObject = connection.execute(_identity_of(study_name)).scalar_one()
        return kept

    def study_identity(self, study_name: str) -> JsonObject | None:
        """Give back what remember_study kept, or None where there is no such study."""
        with self._transaction() as connection:
            return connection.execute(_identity_of(study_name)).scalar_one_or_none()

    def study_names(self) -> list[str]:
        """Give back the names of all studies remembered here, sorted."""
        query = select(tables.study.c.study_name)
        with self._transaction() as connection:
            # Sorted here, because PostgreSQL would sort by the server's language.
            return sorted(connection.execute(query).scalars())

    def forget_study(self, study_name: str) -> None:
        """Remove all that our tables hold of a study, in case Optuna's part was deleted."""
        with self._transaction() as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(delete(table).where(table.c.study_name == study_name))

    def start_launch(self, start: LaunchStart) -> int:
        """Keep one start of a driver, and give back its id."""
        now = self._clock()
        statement = insert(tables.launch).values(
            **start.model_dump(), started_at=now, heartbeat_at=now
        )
        with self._transaction() as connection:
            inserted = connection.execute(statement.returning(tables.launch.c.id))
            launch_id: int = inserted.scalar_one()
        return launch_id

    def heartbeat(self, launch_id: int) -> None:
        """Note that the driver of a launch lives; raises StorageUnavailable if it was deleted."""
        self._update_launch(launch_id, heartbeat_at=self._clock())

    def end_launch(self, launch_id: int, outcome: str) -> None:
        """Note how a launch ended; raises StorageUnavailable if it was deleted."""
        self._update_launch(launch_id, ended_at=self._clock(), outcome=outcome)

    def launches(self, study_name: str) -> list[Launch]:
        """Give back the launches of a study, the oldest first."""
        rows = self._rows(_of_study(tables.launch, study_name))
        return [Launch.model_validate(dict(row)) for row in rows]

    def open_launches(self, study_name: str) -> list[Launch]:
        """Give back the launches of a study that have not ended: alive, or killed."""
        query = _of_study(tables.launch, study_name).where(tables.launch.c.ended_at.is_(None))
        return [Launch.model_validate(dict(row)) for row in self._rows(query)]

    def add_trial(
        self,
        study_name: str,
        number: int,
        launch_id: int,
        config: Mapping[str, JsonValue],
        retry_of: int | None = None,
    ) -> None:
        """Keep the configuration of a trial; added again, it is replaced but for its reason."""
        values = {
            "study_name": study_name,
            "number": number,
            "launch_id": launch_id,
            "config": dict(config),
            "retry_of": retry_of,
        }
        with self._transaction() as connection:
            replace = ("launch_id", "config", "retry_of")
            connection.execute(self._upsert(tables.trial, values, replace))

    def set_reason(self, study_name: str, number: int, reason: str) -> None:
        """Keep why a trial was stopped or failed, even of a trial that was never added."""
        values = {"study_name": study_name, "number": number, "config": {}, "reason": reason}
        with self._transaction() as connection:
            connection.execute(self._upsert(tables.trial, values, replace=("reason",)))

    def trial_record(self, study_name: str, number: int) -> TrialRecord | None:
        """Give back what is kept of a trial, or None where there is nothing."""
        query = _of_study(tables.trial, study_name, number)
        rows = self._rows(query)
        return TrialRecord.model_validate(dict(rows[0])) if rows else None

    def trial_records(self, study_name: str) -> dict[int, TrialRecord]:
        """Give back what is kept of each trial of a study, by trial number in order."""
        rows = self._rows(_of_study(tables.trial, study_name))
        return {row["number"]: TrialRecord.model_validate(dict(row)) for row in rows}

    def add_epoch(self, epoch: EpochRow) -> None:
        """Keep the figures of an epoch; the same epoch again (a resumed trial) replaces them."""
        with self._transaction() as connection:
            self._put_epoch(connection, epoch)

    def add_decision(self, decision: DecisionRow) -> None:
        """Keep the scheduler's word after an epoch; the same epoch again replaces it."""
        with self._transaction() as connection:
            self._put_decision(connection, decision)

    def record_epoch(self, epoch: EpochRow, decision: DecisionRow) -> None:
        """Keep an epoch and its decision in one transaction: both are there, or neither."""
        with self._transaction() as connection:
            self._put_epoch(connection, epoch)
            self._put_decision(connection, decision)

    def epochs(self, study_name: str, number: int | None = None) -> list[EpochRow]:
        """Give back the epochs of one trial, or of all of a study, by trial and epoch."""
        rows = self._rows(_of_study(tables.epoch, study_name, number))
        return [EpochRow.model_validate(dict(row)) for row in rows]

    def decisions(self, study_name: str) -> list[DecisionRow]:
        """Give back the scheduler's decisions on all trials of a study, by trial and epoch."""
        rows = self._rows(_of_study(tables.decision, study_name))
        return [DecisionRow.model_validate(dict(row)) for row in rows]

    def decision(self, study_name: str, number: int, epoch: int) -> DecisionRow | None:
        """Give back the decision after one epoch of a trial, or None where there is none."""
        query = _of_study(tables.decision, study_name, number)
        rows = self._rows(query.where(tables.decision.c.epoch == epoch))
        return DecisionRow.model_validate(dict(rows[0])) if rows else None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        joined: Connection | None = getattr(self._local, "joined", None)
        if joined is not None:  # in Database.transaction, which commits
            yield joined
            return
        with storage_errors(self.url), self._engine.begin() as connection:
            yield connection

    def _clock(self) -> datetime | ColumnElement[datetime]:
        # Hosts that share a server may disagree on the time; those on one file are one host.
        if self._engine.dialect.name == "sqlite":
            return datetime.now(UTC)
        return func.clock_timestamp(type_=tables.UtcDateTime)

    def _rows(self, query: Select[Any]) -> list[RowMapping]:
        with self._transaction() as connection:
            return list(connection.execute(query).mappings())

    def _update_launch(self, launch_id: int, **values: Any) -> None:
        statement = update(tables.launch).where(tables.launch.c.id == launch_id).values(**values)
        with self._transaction() as connection:
            if connection.execute(statement).rowcount == 0:
                raise StorageUnavailable(
                    f"{self.url} has no launch {launch_id}: its study was deleted meanwhile;"
                    " start the search again"
                )

    def _put_epoch(self, connection: Connection, epoch: EpochRow) -> None:
        values = epoch.model_dump()
        connection.execute(self._upsert(tables.epoch, values, replace=values))

    def _put_decision(self, connection: Connection, decision: DecisionRow) -> None:
        values = {**decision.model_dump(), "created_at": self._clock()}
        connection.execute(self._upsert(tables.decision, values, replace=values))

    def _upsert(self, table: Table, values: dict[str, Any], replace: Collection[str]) -> Insert:
        """Insert a row; where its key exists already, take over only the columns in `replace`."""
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        statement: sqlite.Insert | postgresql.Insert = dialect.insert(table).values(**values)
        if not replace:
            return statement.on_conflict_do_nothing()
        return statement.on_conflict_do_update(
            index_elements=table.primary_key.columns,
            set_={name: statement.excluded[name] for name in replace},
        )


def _identity_of(study_name: str) -> Select[JsonObject]:
    return select(tables.study.c.identity).where(tables.study.c.study_name == study_name)


def _of_study(table: Table, study_name: str, number: int | None = None) -> Select[Any]:
    query = select(table).where(table.c.study_name == study_name)
    if number is not None:
        query = query.where(table.c.number == number)
    return query.order_by(*table.primary_key.columns)
