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

import errno

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED_TO_US = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
}


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


def as_fmnist_error(error: BaseException) -> FmnistError | None:
    """`error` as one of the classes above; None when it is a defect of ours.

    A file system's refusal is the user's mistake, or a full disk: another user's closed folder, a
    name that is too long, links in a circle.
    """
    if isinstance(error, FmnistError):
        return error
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):
        return OutputError(f"{error}; choose another place")
    if isinstance(error, RuntimeError) and str(error).startswith("Could not determine home"):
        return OutputError("no home is known for this user; set HOME to a folder of yours")
    if not isinstance(error, OSError):
        return None
    place = error.filename or "a file"
    if error.errno in _NO_ROOM:
        return NoSpaceError(f"{place}: {error.strerror}; make room and start again to go on")
    if error.errno in _CLOSED_TO_US:
        return OutputError(f"{place}: {error.strerror}; choose another place")
    if error.errno == errno.ENOENT and not error.filename:
        return OutputError("the working folder was deleted; change to another")
    return None


def message_of(error: BaseException) -> str:
    """The message of any error, also of one whose message cannot be made."""
    try:
        return str(error)
    except Exception:
        return "a message that cannot be shown"
