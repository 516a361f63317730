"""Where a study stands: how many trials are in each state, and which are COMPLETE.

Only what the search itself has ended counts (`optuna_tables.judged`). An ended trial never changes,
so it is judged once: a running search asks every second, for the trials that are new or still run.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import TextClause

from storage import optuna_tables

Ask = Callable[..., list[tuple[Any, ...]]]


class Standing:
    """What is known of a study's trials, brought up to date by each question; thread-safe.

    `ask(query, **parameters)` gives the rows of a query about the study, `judged` is the query
    that says which trials are the search's own.
    """

    def __init__(self, ask: Ask, judged: TextClause) -> None:
        self._ask, self._judged = ask, judged
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._ended: Counter[str] = Counter()
        self._complete: list[tuple[int, float]] = []
        self._open: dict[int, str] = {}
        self._last = 0

    def counts(self) -> dict[str, int]:
        """How many trials are in each state; a state without any is left out."""
        with self._lock:
            self._refresh()
            return dict(self._ended + Counter(self._open.values()))

    def complete(self) -> list[tuple[int, float]]:
        """Number and value of the COMPLETE trials, the best first, of equals the earliest."""
        with self._lock:
            self._refresh()
            return list(self._complete)

    def _refresh(self) -> None:
        self._take_in()
        ((in_all,),) = self._ask(optuna_tables.TRIALS_IN_ALL)
        if in_all != len(self._open) + self._ended.total():  # some were deleted, or came too late
            self._forget()
            self._take_in()

    def _take_in(self) -> None:
        known = sorted(trial_id for trial_id in self._open if trial_id <= self._last)
        rows = self._ask(self._judged, after=self._last, ids=known)
        before, self._open = len(self._complete), {}
        for trial_id, number, state, value in rows:
            if state in ("RUNNING", "WAITING"):
                self._open[trial_id] = state
                continue
            self._ended[state] += 1
            self._last = max(self._last, trial_id)
            if state == "COMPLETE":
                self._complete.append((number, value))
        if len(self._complete) > before:
            self._complete.sort(key=lambda one: (-one[1], one[0]))
