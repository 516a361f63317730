"""Where checkpoints lie, and whether the disks that a search writes to have room."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from search.errors import SurroundingsError, UsageError
from search.settings import SearchSettings
from storage.url import display_url, parse_url, sqlite_path

CHECK_SECONDS = 2.0


def checkpoint_folder(settings: SearchSettings) -> Path:
    """The folder of the checkpoints of this study, which need not exist yet.

    Raises UsageError when `--checkpoint-dir` cannot be one.
    """
    url = parse_url(settings.storage)
    file = sqlite_path(url)
    if settings.checkpoint_dir:
        place = Path(settings.checkpoint_dir).resolve()
        _check_writable(place)
    elif file is not None:
        place = file.with_name(f"{file.name}.checkpoints")
    else:  # two servers may hold studies of one name
        server = hashlib.sha256(display_url(url).encode()).hexdigest()[:12]
        place = platformdirs.user_cache_path("fmnist-search") / "checkpoints" / server
    folder = place / settings.study
    if folder.resolve().parent != place.resolve():  # by a link that somebody put there
        raise UsageError(f"{folder} leads elsewhere; give another --checkpoint-dir")
    return folder


def _check_writable(place: Path) -> None:
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"--checkpoint-dir {place}: {nearest} is no folder; give another")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"--checkpoint-dir {place}: {nearest} cannot be written; give another")


class DiskWatch:
    """Looks at the disks of some places now and then; cheap to ask often."""

    def __init__(self, places: Iterable[Path], least_bytes: int) -> None:
        self.places, self.least_bytes = tuple(places), least_bytes
        self._last = -CHECK_SECONDS

    def check(self) -> None:
        """Raises SurroundingsError when a disk has fewer than `least_bytes` left."""
        now = time.monotonic()
        if now - self._last < CHECK_SECONDS:
            return
        self._last = now
        for place in self.places:
            nearest = next(path for path in (place, *place.parents) if path.exists())
            free = shutil.disk_usage(nearest).free
            if free < self.least_bytes:
                raise SurroundingsError(
                    f"only {free / 1e6:.0f} MB are free on the disk of {place}, less than "
                    f"--min-free {self.least_bytes / 1e6:.0f} MB; make room, then start again to "
                    "go on"
                )


def places_written(settings: SearchSettings, checkpoints: Path) -> list[Path]:
    """The folders whose disks a search fills: the database's, if it is a file, and checkpoints'."""
    file = sqlite_path(parse_url(settings.storage))
    return [checkpoints, *([file.parent] if file else [])]
