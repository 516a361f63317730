"""Waiting for a database that is away for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from search.quantities import duration
from storage import StorageUnavailable, as_storage_error

Result = TypeVar("Result")
LONGEST_PAUSE_SECONDS = 2.0


class Outage:
    """Repeats what the database at `url` refuses, until it was away for `limit_seconds` in a row.

    `should_end` ends the wait early (a signal came); `say` is told in a line when a wait begins;
    `forget` lets go of a connection that may be broken.
    """

    def __init__(
        self,
        url: str,
        limit_seconds: float,
        *,
        should_end: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda text: None,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.url, self.limit_seconds = url, limit_seconds
        self.should_end, self.say, self.forget = should_end, say, forget
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
                known = as_storage_error(error, self.url)
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
        self.forget()
        # Longer and longer, but several drivers not in step.
        time.sleep(min(LONGEST_PAUSE_SECONDS, 0.1 + away / 4) * random.uniform(0.5, 1.0))
