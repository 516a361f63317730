"""What all command lines share: the parser, and the types of arguments. No heavy imports."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from fmnist_models.errors import ConfigError
from fmnist_models.files import expand_home
from fmnist_models.output import printable

SECONDS = {"h": 3600, "m": 60, "s": 1}
BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr, with exit status 2.

    Options are not abbreviated: a script that did so would break when one is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """End the program with `message`."""
        self.exit(2, printable(f"{self.prog}: {message}; see --help\n"))


def path(text: str) -> Path:
    """An argument type: a path, in which ~ and ~user are homes, as `--out=~/x` leaves them."""
    try:
        return expand_home(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration(text: str) -> float:
    """An argument type: a duration such as 90, 90s, 30m, 2h or 1h30m, in seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration; write for example 90s, 30m or 1h30m"
        )
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def size(text: str) -> int:
    """An argument type: a size such as 5000000, 500KB, 100MB or 1.5GB, in bytes."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]B|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write for example 500MB or 2GB")
    return int(float(found[1]) * BYTES[found[2]])


UNITS: dict[Callable[[str], object], dict[str, int]] = {duration: SECONDS, size: BYTES}


def written(value: object, parse: Callable[[str], object]) -> str:
    """`value` as the argument type `parse` reads it, 300 seconds as 5m."""
    units = UNITS.get(parse)
    if units is None or not isinstance(value, int | float):
        return str(value)
    unit = max((unit for unit in units if value % units[unit] == 0), key=units.__getitem__)
    return f"{value / units[unit]:.0f}{unit}"


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """The argument type of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return parse


def minutes(text: str) -> float:
    """An argument type: minutes above 0, up to a year of them."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 600_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return number
