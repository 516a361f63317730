"""Whether an import finds our packages: a file of the working folder may hide one of them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("run_search", "search", "spaces", "storage")


def hidden_package() -> str | None:
    """What hides one of our packages, with the remedy; None where all are found."""
    for name in NAMES:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found not in (ROOT / name / "__init__.py", ROOT / f"{name}.py"):
            return (
                f"{found or name} hides the package {name} of fmnist-search; rename it, or work in "
                "another folder (the command fmnist-search works in any)"
            )
    return None


def exit_if_hidden() -> None:
    """End the program with one line and status 2 where a package of ours is hidden."""
    hidden = hidden_package()
    if hidden:
        print(hidden, file=sys.stderr)
        sys.exit(2)
