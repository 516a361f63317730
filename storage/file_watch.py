"""Whether a SQLite file is still the one that was opened; what it held is rescued where it is not.

SQLite goes on writing into a file that was deleted, moved away or replaced, without an error, and
all of that is lost with the process.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from storage.errors import StorageUnavailable
from storage.tables import VERSION_TABLE


class FileWatch:
    """Looks after the database file at `path`, over a connection of its own; thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = self._connect()
        self._known, self._size = self._look() or ((0, 0), 0)
        self._lock, self._loss = threading.Lock(), ""

    def check(self) -> None:
        """Raise StorageUnavailable, once and for all, when the file is not what it was.

        By then what it held is in a new file beside it, which the message names.
        """
        with self._lock:
            found = None if self._loss else self._look()
            if found and found[0] == self._known and self._is_whole(found[1]):
                self._size = found[1]
                return
            if not self._loss:
                if found is None:
                    what = "was deleted or moved"
                else:
                    what = "was truncated" if found[0] == self._known else "was replaced"
                self._loss = f"{self.path} {what} while it was in use; {self._rescued()}"
        raise StorageUnavailable(self._loss)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path))}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the journal as well
        return connection

    def _look(self) -> tuple[tuple[int, int], int] | None:
        """Device and inode of the file that is there now, and its size in bytes."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino), found.st_size

    def _is_whole(self, size: int) -> bool:
        """Whether a file of so many bytes has not shrunk, or did so by SQLite's VACUUM."""
        if size >= self._size or size == 0:
            return size > 0
        try:
            with closing(self._connect()) as connection:
                connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
                return _is_sound(connection)
        except sqlite3.Error:
            return False

    def _rescued(self) -> str:
        """Copy what the open file holds; where to, as the end of a sentence."""
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        for folder in (self.path.parent, Path(tempfile.gettempdir())):
            copy = folder / f"{self.path.name}.rescued-{stamp}"
            try:
                copy.touch(mode=0o600)
                with closing(sqlite3.connect(copy)) as target:
                    self._connection.backup(target)
                    if _is_sound(target):
                        return f"what it held is kept as {copy}: put that back, then start again"
            except (OSError, sqlite3.Error):
                pass
            copy.unlink(missing_ok=True)
        return "nothing of it could be rescued: put back a backup, then start again"


def _is_sound(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
