"""`python -m spaces point|catalog`: a known-good point as a file, and the catalogue anew.

python -m spaces point wrn wrn-28-10-erasing --epochs 300 --out wrn.json
python -m fmnist_models train wrn.json --out models/wrn     # reproduces it
python -m spaces catalog                                    # after a change of a space
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from fmnist_models.cli.arguments import Parser, path
from fmnist_models.config.base import explain
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError, OutputError, as_fmnist_error
from fmnist_models.files import write_atomically
from fmnist_models.output import program_name, run_command
from spaces import SpaceContext, get_space
from spaces.catalog import PATH, write_catalog

PROGRAM = "python -m spaces"


def build_parser() -> Parser:
    """Both commands and their options."""
    parser = Parser(prog=program_name(PROGRAM), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    point = commands.add_parser(
        "point",
        help="write the configuration of a known-good point, for `python -m fmnist_models train`",
        description="Write a known-good point of a space, such as a published network with the "
        "training of its source, as a configuration; `run_search.py --list-spaces` names them all.",
    )
    point.add_argument("space", help="name of the space")
    point.add_argument("point", help="name of the point")
    point.add_argument("--epochs", type=int, help="default: as a search on a GPU, mostly 27")
    point.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    point.add_argument("--out", type=path, metavar="FILE", help="default: standard output")
    point.add_argument("--force", action="store_true", help="overwrite a file of other content")
    commands.add_parser("catalog", help=f"write spaces/{PATH.name} anew, after a change of a space")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0, or 2 after a mistake."""
    options = build_parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    try:
        if options.command == "catalog":
            write_catalog()
            print(f"wrote {PATH.name}")
        else:
            _point(options)
    except Exception as error:
        known = as_fmnist_error(error)
        if known is None:
            raise
        print(f"{program_name(PROGRAM)} {options.command}: {known}", file=sys.stderr)
        return 2
    return 0


def _point(options: argparse.Namespace) -> None:
    if options.out and options.out.suffix.lower() not in ("", ".json"):
        raise OutputError(f"--out {options.out}: it will be JSON; use the ending .json")
    space = get_space(options.space)
    epochs = space.epochs_gpu if options.epochs is None else options.epochs
    try:
        # By way of a checked number of epochs, from which a space may derive other values.
        config = space.configure(options.point, SpaceContext(max(1, epochs)))
        values = {**config.model_dump(), "epochs": epochs, "seed": options.seed}
        text = TrialConfig.model_validate(values).model_dump_json(indent=2) + "\n"
    except ValidationError as error:
        raise ConfigError(f"--{explain(error)}") from None
    if options.out is None:
        print(text, end="")
        return
    is_other = options.out.is_file() and options.out.read_bytes() != text.encode()
    if is_other and not options.force:
        raise OutputError(f"{options.out} exists; give --force or another --out")
    write_atomically(options.out, text.encode())


if __name__ == "__main__":
    sys.exit(main())
