"""What the command lines share: one-line errors, the default of --storage, the spaces."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from search.settings import DEFAULT_STORAGE, parse_duration
from spaces import SPACES

STORAGE_VARIABLE = "FMNIST_SEARCH_STORAGE"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr, with exit status 2.

    Options are not abbreviated: a script that did so would break when one is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """End the program with `message`."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def storage_default(environment: Mapping[str, str]) -> str:
    """The database URL where none is given on the command line."""
    return environment.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def list_spaces() -> str:
    """The registered spaces, one a line with what it holds."""
    width = max(map(len, SPACES))
    return "\n".join(f"{name:<{width}}  {summary}" for name, summary in SPACES.items())


def seconds(text: str) -> float:
    """An argument type: a duration such as 90s, 30m or 1h30m, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
