"""`python -m search status|export|dashboard`: what can be done with a study beside searching."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fmnist_models.cli.arguments import Parser, path, whole_number
from fmnist_models.output import program_name, run_command
from search.cli.search_options import add_option, storage_of
from search.errors import UsageError, as_search_error

PROGRAM = "python -m search"


def build_parser() -> Parser:
    """The parser of all three commands."""
    parser = Parser(prog=program_name(PROGRAM), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="counts, best configuration and its accuracy")
    status.add_argument("--json", action="store_true", help="one JSON object a study and line")
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status is 0, or that of the error (see `search.errors`)."""
    options = build_parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    try:
        options.storage = storage_of(options.storage)
        return _run(options)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        known = as_search_error(error, options.storage)
        if known is None:
            raise
        print(f"{program_name(PROGRAM)} {options.command}: {known}", file=sys.stderr)
        return known.status


def _run(options: argparse.Namespace) -> int:
    from search.cli import commands

    match options.command:
        case "status":
            return commands.status(options.storage, options.study, as_json=options.json)
        case "export":
            return commands.export(
                options.storage,
                options.study,
                options.out,
                options.force,
                form=options.format,
                top=options.top,
                seeds=options.seeds,
                data_dir=options.data_dir,
            )
        case "dashboard":
            return commands.dashboard(
                options.storage, options.study, options.port, writable=options.writable
            )
    raise UsageError(f"unknown command {options.command!r}")


if __name__ == "__main__":
    sys.exit(main())
