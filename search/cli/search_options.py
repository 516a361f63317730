"""The options of `run_search.py`, and the settings that they come to."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fmnist_models.cli.arguments import Parser
from fmnist_models.output import program_name
from search.cli.space_list import list_spaces
from search.errors import UsageError
from search.settings import (
    OPTIONS,
    STORAGE_VARIABLE,
    SearchSettings,
    make_settings,
    storage_default,
)

DESCRIPTION = "Search for the best Fashion-MNIST classifier, e.g. `--space quick --trials 12`."
EXIT_STATUS = """exit status: 0 done; 1 no trial completed; 2 a mistake in what was asked for;
3 the surroundings failed (start again to go on); 70 a defect, with its traceback; 129,
130, 143 interrupted, everything saved.
`--trials` is the study's total: run again and it goes on to that many, not to twice as many."""

FLAGS = {
    "trials": ("--list-spaces", "list the spaces and exit"),
    "storage": ("--json", "the summary as JSON, the last line on stdout"),
}
"""The options that are no settings, by the setting that they follow in the help."""


def search_program() -> str:
    """What a search calls itself in help and errors."""
    return program_name("run_search.py", "search")


def build_parser() -> Parser:
    """All options, with their defaults and units."""
    parser = Parser(prog=search_program(), description=DESCRIPTION, epilog=EXIT_STATUS)
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for field, option in OPTIONS.items():
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        add_option(groups[option.group], field)
        if field in FLAGS:
            flag, text = FLAGS[field]
            groups[option.group].add_argument(flag, action="store_true", help=text)
    return parser


def add_option(group: argparse._ActionsContainer, field: str) -> None:
    """Add the option of a setting to a parser; where it is not given, the value is None."""
    option = OPTIONS[field]
    metavar = option.name.removeprefix("--").replace("-", "_").upper()
    group.add_argument(
        option.name, dest=field, metavar=metavar, type=option.parse or str, help=option.help
    )


def settings_of(arguments: Sequence[str]) -> tuple[SearchSettings, bool]:
    """The settings that a command line asks for, and whether it wants JSON.

    Raises UsageError; `--help` and what argparse refuses end the program.
    """
    parser = build_parser()
    options = vars(parser.parse_args(arguments))
    if options.pop("list_spaces"):
        print(list_spaces())
        sys.exit(0)
    if not options["space"] or options["trials"] is None:
        parser.error("--space and --trials are needed, for example --space quick --trials 12")
    as_json = options.pop("json")
    options["storage"] = storage_of(options["storage"])
    options["study"] = options["study"] or options["space"]
    given = {field: value for field, value in options.items() if value is not None}
    return make_settings(**given), as_json


def storage_of(given: str | None) -> str:
    """The database URL that `--storage` gives, else that of the environment, else the usual one.

    Raises UsageError for a password, as every user of the machine can read a command line.
    """
    if not given:
        return storage_default(os.environ)
    if "@" not in given and "password" not in given.lower():
        return given
    from storage import mask_url  # a third of a second

    masked = mask_url(given)
    if masked != given:
        raise UsageError(
            f"--storage {masked}: a password on the command line can be read by other users; put "
            f"it into ~/.pgpass, or the whole URL into ${STORAGE_VARIABLE}"
        )
    return given
