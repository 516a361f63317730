"""Where our code lies, and where a search keeps what is not in its database."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from fmnist_models.files import user_cache
from search.errors import SurroundingsError, UsageError
from storage.database import BUSY_TIMEOUT_SECONDS
from storage.url import display_url, parse_url, sqlite_path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("fmnist_models", "search", "spaces", "storage")
"""The packages of this program, which lie in `ROOT`."""


def checkpoint_folder(storage: str, study: str, checkpoint_dir: str | None) -> Path:
    """The folder of the checkpoints of this study, which need not exist yet.

    `storage` is the database's URL. Raises UsageError when `--checkpoint-dir` cannot be one.
    """
    url = parse_url(storage)
    file = sqlite_path(url)
    if checkpoint_dir:
        place = Path(checkpoint_dir).resolve()
        _check_writable(place)
    elif file is not None:
        place = file.with_name(f"{file.name}.checkpoints")
    else:  # two servers may hold studies of one name
        server = hashlib.sha256(display_url(url).encode()).hexdigest()[:12]
        cache = user_cache()
        if cache is None:
            raise UsageError("no home is known to keep checkpoints in; give --checkpoint-dir")
        place = cache / "checkpoints" / server
    folder = place / study
    if folder.resolve().parent != place.resolve():  # by a link that somebody put there
        raise UsageError(f"{folder} leads elsewhere; give another --checkpoint-dir")
    return folder


def _check_writable(place: Path) -> None:
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"--checkpoint-dir {place}: {nearest} is no folder; give another")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"--checkpoint-dir {place}: {nearest} cannot be written; give another")


def places_written(storage: str, checkpoints: Path) -> list[Path]:
    """The folders whose disks a search fills: the database's, if it is a file, and checkpoints'."""
    file = sqlite_path(parse_url(storage))
    return [checkpoints, *([file.parent] if file else [])]


def longest_outage(storage: str, seconds: float) -> float:
    """For how long a database may be away; a file that is locked is waited for a minute at most."""
    is_file = sqlite_path(parse_url(storage)) is not None
    return min(seconds, BUSY_TIMEOUT_SECONDS) if is_file else seconds


def space_check(folders: Iterable[Path], least_bytes: int) -> Callable[[], None]:
    """A check that raises SurroundingsError when fewer than `least_bytes` are free for a folder.

    A folder that does not exist yet is looked for where it will be.
    """
    places = [Path(folder).absolute() for folder in folders]

    def check() -> None:
        for place in places:
            there = next(p for p in (place, *place.parents) if p.exists())
            free = shutil.disk_usage(there).free
            if free < least_bytes:
                raise SurroundingsError(
                    f"{place}: only {free / 1e6:.0f} MB are free on its disk and --min-free is "
                    f"{least_bytes / 1e6:.0f} MB, so no trial was started; free some, then start "
                    "again to go on"
                )

    return check
