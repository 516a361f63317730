"""`fmnist-search COMMAND ...`: every command, whatever lies in the working folder.

`python -m search` takes a `search.py` of the working folder for ours; this one is found among
the interpreter's own packages. Each command is imported when it is asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from fmnist_models.cli.arguments import Parser
from fmnist_models.files import MAKER
from fmnist_models.output import run_command
from fmnist_models.own_packages import exit_if_hidden

COMMANDS = {
    "search": ("run_search", "search for the best configuration, as run_search.py does"),
    "status": ("search.__main__", "counts, best configuration and its accuracy"),
    "dashboard": ("search.__main__", "serve optuna-dashboard on 127.0.0.1"),
    "export": ("search.__main__", "write the best configuration to a file for final training"),
    "report": ("search.__main__", "write the page of a study"),
    "compare": ("search.__main__", "write how studies compare"),
    "trials": ("search.__main__", "write a table of a study, a row a trial"),
    "epochs": ("search.__main__", "write a table of a study, a row an epoch"),
    "train": ("fmnist_models.__main__", "train a configuration on all images, score it once"),
    "evaluate": ("fmnist_models.__main__", "read the test set with a model"),
    "predict": ("fmnist_models.__main__", "say what is on pictures"),
    "export-onnx": ("fmnist_models.__main__", "write a model as one ONNX file"),
    "ensemble": ("fmnist_models.__main__", "make one model of several"),
    "distill": ("fmnist_models.__main__", "teach one network what an ensemble knows"),
    "augmentations": ("fmnist_models.__main__", "draw a picture of every augmentation"),
    "point": ("spaces.__main__", "write the configuration of a known-good point"),
}
"""The module of each command, and what `--help` says of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        exit_if_hidden()
        module = import_module(COMMANDS[given[0]][0])
        return int(module.main(given[1:] if module.__name__ == "run_search" else given))
    return run_command(lambda: _without_command(given))


def _without_command(given: list[str]) -> int:
    """Help, the version, or what is wrong."""
    parser = Parser(prog=MAKER, description="Search for a Fashion-MNIST classifier, and use it.")
    parser.add_argument("--version", action="store_true", help="version and commit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    if not parser.parse_args(given).version:
        parser.error(f"name a COMMAND: {', '.join(COMMANDS)}")
    print(f"{MAKER} {version()}")
    return 0


def version() -> str:
    """The version of what is installed, with the commit where that is known."""
    try:
        installed = metadata.distribution(MAKER)
    except metadata.PackageNotFoundError:
        return " ".join(["(not installed)", *_commit(None)])
    return " ".join([installed.version, *_commit(installed.read_text("direct_url.json"))])


def _commit(origin: str | None) -> list[str]:
    """The commit of the working tree, or that which pip installed by its record `origin`."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:  # no git
            return []
        return [] if done.returncode else [f"(commit {done.stdout.strip()})"]
    commit = json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")
    return [f"(commit {commit[:12]})"] if commit else []


if __name__ == "__main__":
    sys.exit(main())
