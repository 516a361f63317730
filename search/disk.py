"""Room on the disks that a search writes to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from search.errors import SurroundingsError


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
