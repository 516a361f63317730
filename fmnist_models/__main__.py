"""`python -m fmnist_models train|evaluate|predict|export-onnx|ensemble|distill|augmentations`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fmnist_models.cli.parsing import build_parser
from fmnist_models.errors import FmnistError, NoSpaceError, OutOfMemoryError

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0, 2 a mistake, 3 disk or memory full, 130 Ctrl-C, 141 pipe."""
    options = build_parser().parse_args(arguments)
    from fmnist_models.cli.commands import COMMANDS

    try:
        status = COMMANDS[options.command](options)
        sys.stdout.flush()
        return status
    except FmnistError as error:
        print(f"python -m fmnist_models {options.command}: {error}", file=sys.stderr)
        return 3 if isinstance(error, NoSpaceError | OutOfMemoryError) else 2
    except KeyboardInterrupt:
        print("interrupted: start it again to go on after the last epoch", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `head`, say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
