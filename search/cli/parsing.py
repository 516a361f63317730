"""What the command lines share: one-line errors, the default of --storage, the spaces."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from search.errors import UsageError
from search.quantities import parse_duration, parse_size
from search.settings import STORAGE_VARIABLE


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr, with exit status 2.

    Options are not abbreviated: a script that did so would break when one is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """End the program with `message`."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def seconds(text: str) -> float:
    """An argument type: a duration such as 90s, 30m or 1h30m, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> int:
    """An argument type: a size such as 500MB or 2GB, in bytes."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def without_password(storage: str) -> str:
    """A database URL from a command line, which every user of the machine can read.

    Raises UsageError when it holds a password.
    """
    if "@" not in storage and "password" not in storage.lower():
        return storage
    from storage import mask_url  # a third of a second

    masked = mask_url(storage)
    if masked != storage:
        raise UsageError(
            f"--storage {masked}: a password on the command line can be read by other users; put "
            f"it into ~/.pgpass, or the whole URL into ${STORAGE_VARIABLE}"
        )
    return storage


def positive(text: str) -> int:
    """An argument type: a whole number from 1 to 1000."""
    return _whole(text, 1)


def not_negative(text: str) -> int:
    """An argument type: a whole number from 0 to 1000."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to 1000")
    return int(text)
