"""The folder of a Ray session: private, short enough for sockets, swept when its driver is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from search.errors import SurroundingsError

SESSION_PREFIX = "fmnist-search-"
RAY_FOLDER = "r"
"""In the folder of a launch; Ray opens it to everybody, which the folder above makes good."""
LONGEST_SOCKET_PATH = 107
RAY_SOCKET_PATH = len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")


@contextmanager
def session_folder() -> Iterator[Path]:
    """A folder for what Ray writes that is closed to others (0700), for the block.

    One that a killed driver left is removed by the next.
    """
    place = _short_place()
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=SESSION_PREFIX, dir=place))
    lock = os.open(folder / "lock", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _short_place() -> Path:
    """A folder for temporary files whose path leaves room for the names of Ray's sockets."""
    room = LONGEST_SOCKET_PATH - RAY_SOCKET_PATH - len(f"/{SESSION_PREFIX}12345678/{RAY_FOLDER}")
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for place in places:
        if len(os.fsencode(place)) <= room and os.access(place, os.W_OK | os.X_OK):
            return place
    raise SurroundingsError(f"no folder for temporary files within {room} bytes; set TMPDIR")


def _sweep(place: Path) -> None:
    """Remove the sessions of drivers that were killed: nobody holds their lock any more."""
    for folder in place.glob(f"{SESSION_PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / "lock", os.O_WRONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def processes_of_session(folder: Path) -> list[psutil.Process]:
    """The other processes that have files open of the Ray session in `folder`: all of Ray's.

    Those whose raylet was killed are no descendants of this process any more, and go on.
    """

    def is_rays(process: psutil.Process) -> bool:
        try:
            return any(Path(file.path).is_relative_to(folder) for file in process.open_files())
        except (psutil.Error, OSError):  # it is gone, or another user's
            return False

    found = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in found if is_rays(process)]


def write_private(path: Path, text: str) -> None:
    """Write a new file that its owner alone can read."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
