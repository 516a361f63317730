"""What can go wrong with the database, by whose fault it is.

::

    StorageError                 any failure of this room
    ├── StorageRefused           the user's mistake: exit status 2
    │   └── OptunaAlone          a database of Optuna's, which only searches may add to
    └── StorageUnavailable       the surroundings failed: exit status 3, start again to go on

Every message is one line that names the database (passwords masked) and the remedy.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything this room raises on purpose; its text is always one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class StorageRefused(StorageError):
    """The user's mistake: a bad URL, a missing driver, a file that is not ours to write."""


class OptunaAlone(StorageRefused):
    """The database holds studies that Optuna itself has made, and none of ours."""


class StorageUnavailable(StorageError):
    """The surroundings failed: locked for too long, disk full, server gone.

    `passing` says that waiting may help: with a lock or a server that restarts it does, with a full
    disk or a deleted study it does not.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing
