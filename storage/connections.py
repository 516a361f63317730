"""Our engine on one database: what is executed on it, alone or as part of a longer transaction."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from storage import tables
from storage.engine import exclusive, make_engine
from storage.error_translation import storage_errors
from storage.file_watch import FileWatch
from storage.url import display_url, sqlite_path


class Connections:
    """The engine that all of our statements on one database go through; safe between threads.

    `url` is the database's for display, passwords masked. What was written outlives the process
    once the outermost transaction has ended. Everything here raises StorageUnavailable when the
    database is locked for too long, its disk is full or its server is gone.
    """

    def __init__(self, url: URL, busy_timeout_seconds: float) -> None:
        self.engine = make_engine(url, busy_timeout_seconds)
        self.watch: FileWatch | None = None
        self.url = display_url(url)
        self.busy_timeout_seconds = busy_timeout_seconds
        self._local = threading.local()

    @property
    def longest_lock_seconds(self) -> float:
        """How long a call waits for a locked file; a server's outage has no such limit."""
        return math.inf if sqlite_path(self.engine.url) is None else self.busy_timeout_seconds

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of its own, or inside `joined` a part of that one."""
        joined: Connection | None = getattr(self._local, "joined", None)
        if joined is not None:
            yield joined
            return
        self.check_place()
        with storage_errors(self.url), self.engine.begin() as connection:
            yield connection
        self.check_place()  # what was written is kept only where the file still is

    def check_place(self) -> None:
        """Raise StorageUnavailable when the database's file is not where it was opened."""
        if self.watch is not None:
            self.watch.check()

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """Execute what this thread does in the block over `connection`, whose owner commits."""
        self._local.joined = connection
        try:
            yield
        finally:
            self._local.joined = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one process and thread at a time, of all that use this database, into the block.

        Not re-entrant. Raises StorageUnavailable when another one stays inside for longer than the
        busy time-out.
        """
        with storage_errors(self.url), exclusive(self.engine, self.busy_timeout_seconds):
            yield

    def rows(self, query: Select[Any]) -> list[RowMapping]:
        """All rows that a query finds."""
        with self.transaction() as connection:
            return list(connection.execute(query).mappings())

    def now(self) -> datetime:
        """The time (UTC) by the clock that sets all times in the database."""
        clock = self.clock()
        if isinstance(clock, datetime):
            return clock
        with self.transaction() as connection:
            return connection.execute(select(clock)).scalar_one().astimezone(UTC)

    def clock(self) -> datetime | ColumnElement[datetime]:
        """What a statement writes as the time of its execution."""
        # Hosts that share a server may disagree on the time; those on one file are one host.
        if self.engine.dialect.name == "sqlite":
            return datetime.now(UTC)
        return func.clock_timestamp(type_=tables.UtcDateTime)

    def upsert(self, table: Table, values: dict[str, Any], replace: Collection[str]) -> None:
        """Insert a row; where its key exists already, take over only the columns in `replace`."""
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        insert: sqlite.Insert | postgresql.Insert = dialect.insert(table).values(**values)
        taken = {name: insert.excluded[name] for name in replace}
        keys = table.primary_key.columns
        with self.transaction() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=keys, set_=taken)
                if taken
                else insert.on_conflict_do_nothing()
            )
