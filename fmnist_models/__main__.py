"""`python -m fmnist_models train|evaluate|predict|export-onnx|ensemble|distill|augmentations`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fmnist_models.cli.parsing import PROGRAM, build_parser
from fmnist_models.errors import NoSpaceError, OutOfMemoryError, as_fmnist_error
from fmnist_models.output import program_name, run_command

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0; 2 mistake, 3 disk or memory full, 70 a defect; 130 Ctrl-C."""
    options = build_parser().parse_args(arguments)
    return run_command(lambda: _main(options), is_work=options.command in ("train", "distill"))


def _main(options: argparse.Namespace) -> int:
    from fmnist_models.cli.commands import COMMANDS

    try:
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("interrupted: start it again to go on after the last epoch", file=sys.stderr)
        return 130
    except Exception as error:
        known = as_fmnist_error(error)
        if known is None:
            raise
        print(f"{program_name(PROGRAM)} {options.command}: {known}", file=sys.stderr)
        return 3 if isinstance(known, NoSpaceError | OutOfMemoryError) else 2


if __name__ == "__main__":
    sys.exit(main())
