"""One open database: the studies in it, its locks, and Optuna's storage on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from pydantic import JsonValue
from sqlalchemy import delete, select

from storage import tables
from storage.connections import Connections
from storage.error_translation import storage_errors
from storage.errors import StorageRefused
from storage.file_watch import FileWatch
from storage.optuna_tables import STUDY_ID
from storage.rows import JsonObject
from storage.schema import ensure_schema
from storage.study_store import StudyStore
from storage.url import check_file, check_space, is_read_only, parse_url, sqlite_path

if TYPE_CHECKING:
    from storage.optuna_storage import SearchRDBStorage


BUSY_TIMEOUT_SECONDS = 60.0


class Database:
    """The database of a search, made by open_database; close it, or use it as a context manager.

    `url` is its URL for display, passwords masked. Safe to use from several threads and processes
    at once; never pickled, because it knows the password. What is asked of it raises
    StorageUnavailable when it is locked for too long, its disk is full or its server is gone.
    """

    def __init__(self, connections: Connections) -> None:
        self.connections, self.url = connections, connections.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Database({self.url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Database is not pickled: call open_database(url) in the other process")

    @property
    def path(self) -> Path | None:
        """The database's file, or None when it is PostgreSQL."""
        return sqlite_path(self.connections.engine.url)

    @property
    def is_read_only(self) -> bool:
        """Whether the database is a file that can only be read."""
        return self.path is not None and is_read_only(self.path)

    def close(self) -> None:
        """Close all connections, those of optuna_storage too."""
        if "optuna_storage" in self.__dict__:
            self.optuna_storage.remove_session()
            self.optuna_storage.engine.dispose()
        self.connections.engine.dispose()
        if self.connections.watch is not None:
            self.connections.watch.close()

    @cached_property
    def optuna_storage(self) -> SearchRDBStorage:
        """Optuna's storage on the same database, its tables created on first use.

        Raises StorageRefused when an incompatible version of Optuna made its tables. What its
        calls raise later is put into words by as_storage_error.
        """
        from storage.optuna_storage import make_optuna_storage

        connections = self.connections
        with storage_errors(self.url, opening=True), self.exclusive():
            return make_optuna_storage(connections.engine.url, connections.busy_timeout_seconds)

    def exclusive(self) -> AbstractContextManager[None]:
        """Let one process and thread at a time, of all that use this database, into the block.

        Not re-entrant; open_database, the first use of optuna_storage and the start of a launch
        take it as well.
        """
        return self.connections.exclusive()

    def open_study(self, name: str) -> StudyStore:
        """The study called `name`.

        Raises StorageRefused when no search made it, or when its trials were deleted (on
        optuna-dashboard, say).
        """
        identity = self.study_identity(name)
        if identity is None:
            names = (n if n.isprintable() else repr(n) for n in self.study_names())
            there = ", ".join(names) or "none"
            raise StorageRefused(f"no study {name!r} in {self.url}; there: {there}")
        with self.connections.transaction() as connection:
            study_id = connection.execute(STUDY_ID, {"name": name}).scalar_one_or_none()
        if study_id is None:
            raise StorageRefused(
                f"study {name!r} in {self.url} was deleted; searching it again starts it anew"
            )
        return StudyStore(name, study_id, identity, self.connections, lambda: self.optuna_storage)

    def study_names(self) -> list[str]:
        """The names of all studies remembered here, sorted."""
        rows = self.connections.rows(select(tables.study.c.study_name))
        return sorted(row["study_name"] for row in rows)  # not by the server's language

    def study_identity(self, name: str) -> JsonObject | None:
        """What remember_study kept, or None where there is no such study."""
        query = select(tables.study.c.identity).where(tables.study.c.study_name == name)
        with self.connections.transaction() as connection:
            return connection.execute(query).scalar_one_or_none()

    def remember_study(self, name: str, identity: Mapping[str, JsonValue]) -> None:
        """Keep the identity of a new study; of an existing one the old identity stays."""
        values = {"study_name": name, "identity": dict(identity)}
        clock = self.connections.clock()
        self.connections.upsert(tables.study, {**values, "created_at": clock}, replace=())

    def forget_study(self, name: str) -> None:
        """Remove all that our tables hold of a study, in case Optuna's part was deleted."""
        with self.connections.transaction() as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(delete(table).where(table.c.study_name == name))


def open_database(
    url: str,
    *,
    create: bool = True,
    busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    least_free_bytes: int = 0,
) -> Database:
    """The database at `url`, created or brought to the newest schema as needed.

    `url` is sqlite:///FILE or postgresql://...; with `create` false nothing is ever created, for
    commands that only read. `busy_timeout_seconds` is how long each call waits for a lock;
    `least_free_bytes` what must be free on a file's disk where `create` is true.

    Raises StorageRefused, with nothing changed, when the URL or what is there cannot be used, and
    StorageUnavailable when the surroundings fail, or a table was lost. From then on a file that is
    opened with `create` is watched: see `FileWatch`.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        check_file(path, writes=create)
        if create:
            check_space(path, least_free_bytes)
    database = Database(Connections(parsed, busy_timeout_seconds))
    try:
        with storage_errors(database.url, opening=True):
            engine = database.connections.engine
            ensure_schema(engine, create=create, wait_seconds=busy_timeout_seconds)
        if path is not None and create:
            database.connections.watch = FileWatch(path)
    except BaseException:
        database.close()
        raise
    return database
