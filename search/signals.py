"""When a search is to stop: SIGINT, SIGTERM or SIGHUP came, or its time is spent."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from search.errors import Interrupted
from search.time_budget import Budget

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what the block does to the handlers of these signals; Ray, for one, takes SIGTERM.

    Only the main thread can set any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.getsignal(kind) for kind in KINDS}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class StopRequest:
    """Whether the search is to stop; `signal` is the first that came, None until then.

    A signal raises `Interrupted` at once, but is only noted while `deferred`.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.signal: int | None = None
        self._deferred = False

    def is_interrupted(self) -> bool:
        """Whether a signal came: nothing is to be waited for any more."""
        return self.signal is not None

    def is_due(self) -> bool:
        """Whether the search is to stop, for whatever reason."""
        return self.is_interrupted() or self.budget.is_spent

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self.signal is None
        self.signal = self.signal or number
        if first and not self._deferred:
            raise Interrupted(number)
        if first:
            print("\nStopping: what runs is queued again ...", file=sys.stderr, flush=True)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals for the block; the handlers from before come back after it.

        A terminal that closes means nothing to who was started by nohup.
        """
        with handlers_kept():
            for kind in KINDS:
                if kind != signal.SIGHUP or signal.getsignal(kind) != signal.SIG_IGN:
                    signal.signal(kind, self._handle)
            yield

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note signals for the block: who runs in it asks `is_due`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
