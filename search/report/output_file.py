"""Where a table or a page is written: checked before anything is read, written whole or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fmnist_models.files import make_folder, write_atomically
from search.errors import UsageError


def check_output(path: Path, endings: Sequence[str], *, force: bool) -> None:
    """Raises UsageError for another ending, and for a file that exists unless `force` is given."""
    if path.suffix.lower() not in endings:
        raise UsageError(f"--out {path}: unknown ending; use one of {', '.join(endings)}")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; give --force to replace it, or another --out")


def write_output(path: Path, content: bytes, say: Callable[[str], None] = print) -> None:
    """Write the file, whole or not at all, and say so; raises OutputError."""
    make_folder(path.parent)
    write_atomically(path, content)
    say(f"Written: {path} ({len(content) / 1e6:.1f} MB)")
