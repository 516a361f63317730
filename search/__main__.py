"""`python -m search COMMAND`: what can be done with a study beside searching."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fmnist_models.output import program_name, run_command
from search.cli.command_parser import PROGRAM, build_parser
from search.cli.search_options import storage_of
from search.errors import UsageError, as_search_error


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
    return _report(options)


def _report(options: argparse.Namespace) -> int:
    from search.cli import report_commands  # which need Optuna

    out, force = options.out, options.force
    match options.command:
        case "trials" | "epochs":
            return report_commands.table(
                options.command, options.storage, options.study, out, force=force
            )
        case "report":
            return report_commands.report(options.storage, options.study, out, force=force)
        case "compare":
            return report_commands.compare(options.storage, options.studies, out, force=force)
    raise UsageError(f"unknown command {options.command!r}")


if __name__ == "__main__":
    sys.exit(main())
