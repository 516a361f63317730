"""The options of `python -m search COMMAND`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TypeAlias

from fmnist_models.cli.arguments import Parser, path, whole_number
from fmnist_models.output import program_name
from search.cli.search_options import add_option
from search.report.columns import EPOCH_COLUMNS, PARAMETER, TRIAL_COLUMNS, Column, column_lines

PROGRAM = "python -m search"
DESCRIPTION = "What can be done with a study beside searching."


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog=program_name(PROGRAM), description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="counts, best configuration and its accuracy")
    status.add_argument("--json", action="store_true", help="one JSON object a study and line")
    export = _export_parser(commands)
    dashboard = commands.add_parser("dashboard", help="serve optuna-dashboard on 127.0.0.1")
    dashboard.add_argument(
        "--port", type=int, default=8080, help="TCP port (default: %(default)s; 0: any free one)"
    )
    dashboard.add_argument(
        "--writable", action="store_true", help="let the pages change studies (default: they can't)"
    )
    for command in (status, export, dashboard):
        required = command is export
        command.add_argument(
            "--study", required=required, help="name" + ("" if required else " (default: all)")
        )
        add_option(command, "storage")
    report = commands.add_parser(
        "report", help="write the page of a study: one .html file that opens without a network"
    )
    _add_output(report, "the file to write, .html")
    compare = commands.add_parser(
        "compare",
        help="write how studies compare at equal epochs and at equal seconds",
        description="Write how studies compare at equal epochs and at equal seconds, with "
        "intervals, tests and the settings that differ. The first one is compared with each other.",
    )
    compare.add_argument(
        "studies",
        nargs="+",
        metavar="STUDY",
        help="a study, or several that differ in their seeds alone: A1,A2,A3 or NAME=A1,A2,A3",
    )
    _add_output(compare, "the file to write, .html, .md, .csv or .tex", study=False)
    more = Column(f"{PARAMETER}NAME", "", "a column for each parameter of the space")
    _table_parser(commands, "trials", "a row a trial", [*TRIAL_COLUMNS, more])
    _table_parser(commands, "epochs", "a row an epoch", EPOCH_COLUMNS)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def _export_parser(commands: Commands) -> Parser:
    export = commands.add_parser(
        "export",
        help="write the best configuration to a file for final training",
        description="Write the best configuration of a study: that of the COMPLETE trial with the "
        "highest validation accuracy after its last epoch (of equals, the earlier), or, with "
        "--seeds, that of the --top such trials with the highest mean validation accuracy when "
        "trained again on fresh seeds.",
    )
    export.add_argument("--out", type=path, required=True, help="the file to write")
    export.add_argument(
        "--format",
        help="json, yaml, or python: a program that rebuilds the network (default: by the ending "
        "of --out: .json or none, .yaml or .yml, .py)",
    )
    export.add_argument(
        "--top",
        type=whole_number(1, 1000),
        default=1,
        help="configurations to compare (default: 1)",
    )
    export.add_argument(
        "--seeds",
        type=whole_number(0, 1000),
        default=0,
        help="fresh seeds to train each again on, on the search's own split, here and now; 0 takes "
        "the trials' own values (default: 0)",
    )
    export.add_argument(
        "--data-dir", type=path, help="folder of the idx files, for --seeds (default: found)"
    )
    export.add_argument("--force", action="store_true", help="overwrite a file that is no export")
    return export


def _table_parser(commands: Commands, name: str, rows: str, columns: Sequence[Column]) -> None:
    table = commands.add_parser(
        name,
        help=f"write a table, {rows}, to a .csv or .parquet file",
        description=f"Write a table of a study, {rows}, to a CSV or Parquet file.",
        epilog="\n".join(["columns; a missing value is empty:", *column_lines(columns)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_output(table, "the file to write, .csv or .parquet")


def _add_output(command: Parser, what: str, *, study: bool = True) -> None:
    command.add_argument("--out", type=path, required=True, help=what)
    command.add_argument("--force", action="store_true", help="replace a file that exists")
    if study:
        command.add_argument("--study", help="name (default: the only one there)")
    add_option(command, "storage")
