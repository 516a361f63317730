"""One open database: Optuna's storage and our tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from sqlalchemy import URL

from storage.engine import exclusive, make_engine
from storage.error_translation import storage_errors
from storage.schema import ensure_schema
from storage.study_queries import StudyQueries
from storage.url import (
    LEAST_FREE_BYTES,
    check_file,
    check_space,
    display_url,
    parse_url,
    sqlite_path,
)

if TYPE_CHECKING:
    from storage.optuna_storage import SearchRDBStorage


BUSY_TIMEOUT_SECONDS = 60.0


class Database(StudyQueries):
    """The database of a search, made by open_database; close it, or use it as a context manager.

    `url` is its URL for display, passwords masked; `path` its file, None for PostgreSQL. Safe to
    use from several threads and processes at once; never pickled, because it knows the password.
    """

    def __init__(self, url: URL, busy_timeout_seconds: float) -> None:
        super().__init__(make_engine(url, busy_timeout_seconds), display_url(url))
        self.busy_timeout_seconds = busy_timeout_seconds

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
        return sqlite_path(self._engine.url)

    def close(self) -> None:
        """Close all connections, those of optuna_storage too."""
        if "optuna_storage" in self.__dict__:
            self.optuna_storage.remove_session()
            self.optuna_storage.engine.dispose()
        self._engine.dispose()

    @cached_property
    def optuna_storage(self) -> SearchRDBStorage:
        """Optuna's storage on the same database, its tables created on first use.

        Raises StorageRefused when an incompatible version of Optuna made its tables. What its
        calls raise later is put into words by as_storage_error.
        """
        from storage.optuna_storage import make_optuna_storage

        with storage_errors(self.url, opening=True), self.exclusive():
            return make_optuna_storage(self._engine.url, self.busy_timeout_seconds)

    @contextmanager
    def transaction(self, study_id: int, trial_id: int | None = None) -> Iterator[None]:
        """Keep all that the block does, in Optuna's tables and in ours, together or not at all.

        One process and thread at a time is in such a block of a study (Optuna's id), so that what
        it reads still holds when it writes. With `trial_id` the block is about that trial alone and
        waits only for others that are. On SQLite blocks wait for each other in any case. Reads see
        what the block has written. Not re-entrant.

        Raises StorageUnavailable, with nothing kept, when the database fails or the study is gone.
        """
        with (
            storage_errors(self.url),
            self.optuna_storage.joined(study_id, trial_id) as connection,
        ):
            self._local.joined = connection
            try:
                yield
            finally:
                self._local.joined = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one process and thread at a time, of all that use this database, into the block.

        Not re-entrant; open_database and the first use of optuna_storage take it as well.

        Raises StorageUnavailable when another one stays inside longer than the busy time-out.
        """
        with storage_errors(self.url), exclusive(self._engine, self.busy_timeout_seconds):
            yield

    def _ensure_schema(self, create: bool) -> None:
        with storage_errors(self.url, opening=True):
            ensure_schema(self._engine, create=create, wait_seconds=self.busy_timeout_seconds)


def open_database(
    url: str,
    *,
    create: bool = True,
    busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    least_free_bytes: int = LEAST_FREE_BYTES,
) -> Database:
    """Give back the database at `url`, created or brought to the newest schema as needed.

    `url` is sqlite:///FILE or postgresql://...; with `create` false nothing is ever created, for
    commands that only read. `busy_timeout_seconds` is how long each call waits for a lock;
    `least_free_bytes` what must be free on a file's disk where `create` is true.

    Raises StorageRefused, with nothing changed, when the URL or what is there cannot be used, and
    StorageUnavailable when the surroundings fail.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        check_file(path)
        if create:
            check_space(path, least_free_bytes)
    database = Database(parsed, busy_timeout_seconds)
    try:
        database._ensure_schema(create)
    except BaseException:
        database.close()
        raise
    return database
