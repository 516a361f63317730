"""How the settings of a search are given on its command line, kept beside each in settings.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import get_args

from pydantic.fields import FieldInfo

from fmnist_models.cli.arguments import written


@dataclass(frozen=True)
class Option:
    """How a setting is given on the command line, and what `--help` says of it.

    `unset` says what the default None stands for. `name` and `parse`, the argument type, are given
    where they are not those of the field.
    """

    group: str
    help: str
    unset: str = ""
    name: str = ""
    parse: Callable[[str], object] | None = None


general, study, search, machine, faults = (
    partial(Option, group) for group in ("", "study", "search", "machine and data", "faults")
)


def option_of(name: str, field: FieldInfo) -> Option:
    """The option of a field, complete."""
    option = next(about for about in field.metadata if isinstance(about, Option))
    kinds = {field.annotation, *get_args(field.annotation)}
    parse = option.parse or next((kind for kind in (int, float) if kind in kinds), str)
    default = option.unset or ("" if field.is_required() else written(field.default, parse))
    return Option(
        group=option.group,
        help=f"{option.help} (default: {default})" if default else option.help,
        name=option.name or spelt(name),
        parse=parse,
    )


def spelt(field: str) -> str:
    """The option of a setting that has no other name."""
    return f"--{field.replace('_', '-')}"
