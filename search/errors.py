"""How a command ends other than well, and with which exit status.

SearchError
├── UsageError          2   the user's mistake: one line, nothing changed
├── NoResultError       1   the search ended with no completed trial
├── SurroundingsError   3   database gone, disk full, ...: start again to go on
└── Interrupted   129, 130, 143 SIGHUP, SIGINT, SIGTERM, with everything saved

Any other exception is a defect: a traceback, and status 70.
"""

from __future__ import annotations

import signal

from fmnist_models.errors import NoSpaceError, OutOfMemoryError, as_fmnist_error


class SearchError(Exception):
    """Base: a message of one line that names the value and the remedy, and an exit status."""

    status = 3


class UsageError(SearchError):
    """What the user asked for cannot be done as asked."""

    status = 2


class NoResultError(SearchError):
    """The search ended with no completed trial."""

    status = 1


class SurroundingsError(SearchError):
    """Something the search depends on failed; starting it again goes on where it stood."""

    status = 3


class Interrupted(SearchError):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{signal.Signals(number).name}: stopped, everything is saved")
        self.status = 128 + number


def as_search_error(error: BaseException, storage: str = "") -> SearchError | None:
    """`error` as one of the classes above, or None when it is a defect of ours."""
    # Here and not above: `--help` needs this file's classes, but not the database's libraries.
    from storage import StorageRefused, StorageUnavailable, as_storage_error

    if isinstance(error, SearchError):
        return error
    ours = as_fmnist_error(error)
    if isinstance(ours, NoSpaceError | OutOfMemoryError) or isinstance(error, StorageUnavailable):
        return SurroundingsError(str(ours or error))
    if ours or isinstance(error, StorageRefused):
        return UsageError(str(ours or error))
    known = as_storage_error(error, storage) if isinstance(error, Exception) else None
    return as_search_error(known) if known else None
