"""The loops that numba compiles, where there is numba; torch alone does the same, more slowly."""

from __future__ import annotations

from functools import cache
from types import ModuleType


@cache
def kernels() -> ModuleType | None:
    """The module `kernels`, imported when it is first needed; None where numba can't be used."""
    try:
        from fmnist_models.compute import kernels as found
    except (ImportError, RuntimeError):  # RuntimeError: no place to keep what was compiled
        return None
    return found
