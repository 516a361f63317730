"""From a driver's exception to the one line that a user can act on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from storage.errors import StorageError, StorageRefused, StorageUnavailable
from storage.optuna_tables import NEEDED_TABLES
from storage.tables import metadata
from storage.url import mask_url

_GO_ON = "then start again to go on"
_WRITABLE = "make the file and its folder writable or name another file"
# SQLite's name for the failure (by prefix), what to say, and whether it is the user's mistake
# when it comes up while opening; later the same failure is the surroundings' fault.
_SQLITE = (
    ("SQLITE_BUSY", f"is locked by another program: close what holds it, {_GO_ON}", False),
    ("SQLITE_LOCKED", f"is locked by another program: close what holds it, {_GO_ON}", False),
    ("SQLITE_FULL", f"has no room left on its disk: free some, {_GO_ON}", False),
    ("SQLITE_IOERR", f"met a disk error or a full disk: check the disk, {_GO_ON}", False),
    ("SQLITE_READONLY", f"cannot be written: {_WRITABLE}", True),
    ("SQLITE_CANTOPEN", f"cannot be opened: {_WRITABLE}", True),
    ("SQLITE_NOTADB", "is not a SQLite database: name another file", True),
    ("SQLITE_CORRUPT", "is damaged: put back a backup or name another file", True),
)
# PostgreSQL gives no code for a refused connection, only a text.
_POSTGRESQL_MISTAKE = re.compile(
    r"authentication failed|no password supplied|does not exist|permission denied"
    r"|failed to resolve host|invalid connection option|invalid port"
)
# A server that answers so is up: waiting changes nothing.
_POSTGRESQL_LASTING = re.compile(
    r"authentication failed|no password supplied|does not exist|permission denied"
)
_LOST = re.compile(
    r'no such (?:table|column): ([\w.]+)|(?:relation|column) "?([\w.]+)"? does not exist'
)
_KEPT_IN = {
    *metadata.tables,
    *(column.name for table in metadata.sorted_tables for column in table.columns),
    *NEEDED_TABLES,
}
"""What somebody must have dropped where it is missing; what else is missing never was."""
_SQLITE_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED")
_UNDEFINED = ("42P01", "42703")
"""PostgreSQL's codes for a table, or a column, that does not exist."""
_UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.InternalError)


def as_storage_error(
    error: BaseException, url: str, *, opening: bool = False
) -> StorageError | None:
    """The StorageError that says what `error` means, or None when it means a bug.

    `error` is whatever a call on the database raised, Optuna's StorageInternalError included;
    `url` names the database in the message (masked here). While `opening`, a file that cannot be
    read or written or a refused login is StorageRefused; later everything is StorageUnavailable.
    """
    shown = mask_url(url)
    for cause in _causes(error):
        if isinstance(cause, StorageError):
            return cause
        if isinstance(cause, sqlite3.Error):
            return _from_sqlite(cause, shown, opening)
        if isinstance(cause, exc.TimeoutError):
            return StorageUnavailable(
                f"{shown}: all connections are in use: use fewer threads", passing=True
            )
        if isinstance(cause, exc.DBAPIError) and not isinstance(cause.orig, sqlite3.Error):
            return _from_postgresql(cause, shown, opening)
    return None


@contextmanager
def storage_errors(url: str, *, opening: bool = False) -> Iterator[None]:
    """Raise what as_storage_error makes of an exception in the block; let others through."""
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        known = as_storage_error(error, url, opening=opening)
        if known is None:
            raise
        raise known from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.orig if isinstance(error, exc.DBAPIError) else error.__cause__


def lost_table(shown: str, name: str) -> str:
    """What is said where a table, or a column, is missing."""
    return (
        f"{shown} has no {name} any more, in which a search keeps results: put back a backup, then "
        "start again to go on, or name another database"
    )


def _lost(error: BaseException, shown: str) -> StorageError | None:
    """What it means where a table or column is missing; else None."""
    found = _LOST.search(str(error))
    name = (found[1] or found[2]).rpartition(".")[2] if found else ""
    return StorageUnavailable(lost_table(shown, name)) if name in _KEPT_IN else None


def _from_sqlite(error: sqlite3.Error, shown: str, opening: bool) -> StorageError | None:
    # Errors made by Python's module itself (a closed connection) carry no name.
    name = getattr(error, "sqlite_errorname", "")
    for prefix, text, mistake in _SQLITE:
        if name.startswith(prefix):
            if opening and mistake:
                return StorageRefused(f"{shown} {text}")
            return StorageUnavailable(f"{shown} {text}", passing=prefix in _SQLITE_PASSING)
    return _lost(error, shown)


def _from_postgresql(error: exc.DBAPIError, shown: str, opening: bool) -> StorageError | None:
    reason = mask_url(str(error.orig).strip().partition("\n")[0])
    if getattr(error.orig, "sqlstate", None) in _UNDEFINED:
        return _lost(error, shown)
    if opening and _POSTGRESQL_MISTAKE.search(str(error.orig)):
        return StorageRefused(f"{shown}: {reason}: correct the URL or the rights of its user")
    if error.connection_invalidated or isinstance(error, _UNAVAILABLE):
        passing = not _POSTGRESQL_LASTING.search(str(error.orig))
        return StorageUnavailable(
            f"{shown}: {reason}: see that the server is up, {_GO_ON}", passing=passing
        )
    return None
