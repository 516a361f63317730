"""The search engine: which configuration next, where it runs, when it stops, what comes of it.

    from search import SearchSettings, run_search
    run_search(SearchSettings(space="quick", trials=12, study="quick"))

    from search import open_study
    open_study("quick").trials()  # a pandas frame, as is .epochs(); .figure("history")

Each name brings what it needs when it is first asked for: the package itself imports nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.launch import run_search
    from search.report.frames import open_study
    from search.settings import SearchSettings

if sys.argv[:1] == ["-m"]:  # `python -m search` in a folder that may hold a storage.py
    from fmnist_models.own_packages import exit_if_hidden

    exit_if_hidden()

__all__ = ["SearchSettings", "open_study", "run_search"]

_HOMES = {
    "SearchSettings": "search.settings",
    "open_study": "search.report.frames",
    "run_search": "search.launch",
}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported when it is asked for (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
