"""What a result was made by: versions of packages, and a digest of our own code."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import psutil
from pydantic import JsonValue

from search.planning.container_limits import available_cpus
from search.planning.plan import Node, SearchPlan
from search.workspace import ROOMS, ROOT

PACKAGES = ("fmnist-search", "torch", "torchvision", "optuna", "ray", "sqlalchemy", "numpy")


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
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


@cache
def commit() -> str | None:
    """The commit of our code, "-dirty" where files differ from it; None outside of a checkout."""
    if not (ROOT / ".git").exists():  # installed: a repository around it would be another's
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def environment(
    plan: SearchPlan,
    nodes: Sequence[Node],
    precision: str,
    device_name: str,
    validation_images: int,
) -> dict[str, JsonValue]:
    """Hardware, versions and data of this launch, for the record.

    `device_name` is the maker's name of what trials run on; the other figures are the driver's,
    and `nodes` are those where trials may run.
    """
    packages = versions()
    return {
        "python": packages.pop("python"),
        "platform": platform.platform(),
        "cpus": available_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "nodes": [node.model_dump(mode="json") for node in nodes],
        "device": plan.device,
        "device_name": device_name,
        "precision": precision,
        "validation_images": validation_images,
        "commit": commit(),
        "code_digest": code_digest(),
        "packages": packages,
    }
