"""Connections that wait and recover, and the lock that keeps processes apart while they create."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, NullPool, create_engine, text

from storage.errors import StorageUnavailable
from storage.url import is_read_only, sqlite_path

_POLL_SECONDS = 0.02
_ADVISORY_LOCK = 0x666D6E697374  # "fmnist": any constant that other programs are unlikely to use
# A server that vanished without a word is noticed within about a minute instead of hours.
_POSTGRESQL_CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_STOPPED_SECONDS = 30
"""So long may a driver hold PostgreSQL's locks and say nothing (it was stopped by Ctrl-Z, say)."""


class _DurableConnection(sqlite3.Connection):
    """Each commit is on the disk when it returns, and with it all commits of others before it.

    A file that is gone is not made anew.
    """

    synchronous = "FULL"

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(f"file:{quote(path)}?mode=rw", **{**options, "uri": True})
        self.execute(f"PRAGMA synchronous={self.synchronous}")


class _QuickConnection(_DurableConnection):
    """Only a power cut can lose commits, those since the last durable one; the file stays whole.

    A killed process loses nothing.
    """

    synchronous = "NORMAL"


class _ReadingConnection(sqlite3.Connection):
    """Reads where nothing can be written: not the file, and not those that SQLite puts beside it.

    Short-lived: where nobody writes as it is opened, it takes the file for one that never changes.
    """

    def __init__(self, path: str, **options: Any) -> None:
        wal = Path(f"{path}-wal")
        fixed = "" if wal.exists() and wal.stat().st_size else "&immutable=1"
        super().__init__(f"file:{quote(path)}?mode=ro{fixed}", **{**options, "uri": True})


def engine_options(
    url: URL, busy_timeout_seconds: float, *, durable: bool = False
) -> dict[str, Any]:
    """The keyword arguments of create_engine, for our engine and Optuna's alike.

    A file that cannot be written is only read. JSON columns refuse NaN, which PostgreSQL could not
    store.
    """
    options: dict[str, Any] = {"json_serializer": partial(json.dumps, allow_nan=False)}
    path = sqlite_path(url)
    if path is not None:
        connect: dict[str, Any] = {"timeout": busy_timeout_seconds}
        if is_read_only(path):
            connect["factory"] = _ReadingConnection
            return {**options, "connect_args": connect, "poolclass": NullPool}
        connect["factory"] = _DurableConnection if durable else _QuickConnection
        return {**options, "connect_args": connect}
    limits = {
        "lock_timeout": int(busy_timeout_seconds * 1000),
        "idle_in_transaction_session_timeout": _STOPPED_SECONDS * 1000,
    }
    given = " ".join(f"-c {name}={value}" for name, value in limits.items())
    wanted = {**_POSTGRESQL_CONNECT, "options": given}
    connect = {key: value for key, value in wanted.items() if key not in url.query}
    return {**options, "pool_pre_ping": True, "connect_args": connect}


def make_engine(url: URL, busy_timeout_seconds: float) -> Engine:
    """Our engine, which commits durably: heartbeats and configurations go through it."""
    return create_engine(url, **engine_options(url, busy_timeout_seconds, durable=True))


def exclusive(engine: Engine, wait_seconds: float) -> AbstractContextManager[None]:
    """Let one process (and thread) at a time into the block, by database.

    Raises StorageUnavailable when another one stayed inside for longer than `wait_seconds`.
    """
    path = sqlite_path(engine.url)
    if path is None:
        return _advisory_lock(engine, wait_seconds)
    return _folder_lock(path.parent, wait_seconds)


@contextmanager
def _advisory_lock(engine: Engine, wait_seconds: float) -> Iterator[None]:
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = {int(wait_seconds * 1000)}"))
        # The block works over other connections, and may take its time to create tables.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10min'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        yield


@contextmanager
def _folder_lock(folder: Path, wait_seconds: float) -> Iterator[None]:
    # The folder, because a lock file would stay behind, and closing any handle of the database
    # file would drop the locks that SQLite itself holds on it in this process.
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageUnavailable(
                        f"{folder} is locked by another search: see what holds it"
                        " (lsof), then start again to go on"
                    ) from None
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold a copy of the handle
        os.close(descriptor)
