"""What the dashboard's page of a large study takes, and its refresh; a part of load.py's L1."""

from __future__ import annotations

import time
from typing import Any
from wsgiref.util import setup_testing_defaults

from search.display.dashboard import Application

ASKS_ANEW_SECONDS = 11
"""optuna-dashboard keeps a large study's trials for ten seconds before it asks its storage anew."""


def dashboard_figures(application: Application, trials: int) -> dict[str, Any]:
    """Seconds and bytes of the page of a study of so many trials, and seconds of a refresh."""
    page_seconds, page_bytes = _ask(application, 0)
    time.sleep(ASKS_ANEW_SECONDS)
    refresh_seconds, _ = _ask(application, trials)
    return {
        "page_seconds": page_seconds,
        "page_bytes": page_bytes,
        "refresh_seconds": refresh_seconds,
    }


def _ask(application: Application, after: int) -> tuple[float, int]:
    """Seconds and bytes of what a page asks for that has the first `after` trials."""
    environ: dict[str, Any] = {"PATH_INFO": "/api/studies/1", "QUERY_STRING": f"after={after}"}
    setup_testing_defaults(environ)
    started = time.perf_counter()
    size = sum(len(part) for part in application(environ, lambda *_: None))
    return time.perf_counter() - started, size
