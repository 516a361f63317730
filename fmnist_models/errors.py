"""What this room raises for a user's mistake or a lost cause.

    FmnistError
    ├── ConfigError         a configuration or an argument is not acceptable
    ├── DataError           the data set is missing, damaged or not what it claims to be
    ├── OutputError         a result cannot be written where it was asked for
    │   └── NoSpaceError        because the disk is full
    ├── DivergedError       the training loss of a trial stopped being finite
    └── OutOfMemoryError    the memory of the device or of the process does not suffice

Every message is one line that quotes the value and names the remedy.
"""

from __future__ import annotations


class FmnistError(Exception):
    """Base of every error that this room raises on purpose."""


class ConfigError(FmnistError):
    """A configuration, a file that holds one, or an argument is not acceptable."""


class DataError(FmnistError):
    """The data set is missing, damaged or not what it claims to be."""


class OutputError(FmnistError):
    """A result cannot be written where it was asked for."""


class NoSpaceError(OutputError):
    """The disk is full: not the user's mistake, and the same command goes on once there is room."""


class DivergedError(FmnistError):
    """The training loss stopped being finite; the configuration is at fault, not the machine."""


class OutOfMemoryError(FmnistError):
    """Memory does not suffice: a limit of ours was passed, or nothing smaller is left to try.

    torch and Python raise errors of their own when an allocation fails; `memory.is_out_of_memory`
    knows them all.
    """


def message_of(error: BaseException) -> str:
    """The message of any error, also of one whose message cannot be made."""
    try:
        return str(error)
    except Exception:
        return "a message that cannot be shown"
