"""Waiting for a database that is away for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from search.quantities import duration
from storage import StorageUnavailable, StudyStore, as_storage_error

Result = TypeVar("Result")
LONGEST_PAUSE_SECONDS = 2.0


class Outage:
    """Repeats what the database refuses, until it has been away for `limit_seconds` in a row.

    A file that another program keeps locked is waited for no longer than its busy time-out.
    `should_end` ends the wait early (a signal came); `say` is told in a line when a wait begins.
    """

    def __init__(
        self,
        store: StudyStore,
        limit_seconds: float,
        should_end: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.store, self.should_end, self.say = store, should_end, say
        self.limit_seconds = min(limit_seconds, store.connections.longest_lock_seconds)
        self._since: float | None = None  # over all operations, so that closing does not wait anew

    def repeat(self, operation: Callable[[bool], Result]) -> Result:
        """`operation(again)`, called until the database answers.

        `again` is false the first time; later the call before may have been kept although its
        answer was lost, so the operation looks first. Raises StorageUnavailable when time is up,
        and at once when waiting does not help.
        """
        again, started = False, time.monotonic()
        while True:
            try:
                result = operation(again)
            except Exception as error:
                known = as_storage_error(error, self.store.url)
                if not isinstance(known, StorageUnavailable):
                    raise
                self._wait(known, started, error)
                again = True
            else:
                self._since = None
                return result

    def _wait(self, known: StorageUnavailable, started: float, error: Exception) -> None:
        if self._since is None:
            self._since = started
            if known.passing:
                self.say(f"{known}; waiting for up to {duration(self.limit_seconds)}")
        away = time.monotonic() - self._since
        if not known.passing or away >= self.limit_seconds or self.should_end():
            raise known from error
        self.store.forget_session()
        # Longer and longer, but several drivers not in step.
        time.sleep(min(LONGEST_PAUSE_SECONDS, 0.1 + away / 4) * random.uniform(0.5, 1.0))
