"""What a result was made by: versions of packages, and a digest of our own code."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

PACKAGES = ("fmnist-search", "torch", "torchvision", "optuna", "ray", "numpy")
ROOMS = ("fmnist_models", "spaces", "search", "storage")


def versions() -> dict[str, JsonValue]:
    """Versions of Python and of the packages that results depend on; None where one is missing."""
    found: dict[str, JsonValue] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@cache
def code_digest() -> str:
    """SHA-256 (hex) over the names and contents of all Python files of our rooms."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()
