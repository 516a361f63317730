"""SIGINT and SIGTERM: end a command cleanly, wherever it stands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from search.errors import Interrupted

KINDS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what the block does to the handlers of both signals; Ray, for one, takes SIGTERM."""
    before = {kind: signal.getsignal(kind) for kind in KINDS}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class Signals:
    """Raises `Interrupted` at once, or notes the signal in `received` while `deferred`."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or number
        if first and not self._deferred:
            raise Interrupted(number)
        if first:
            print("\nStopping: what runs is queued again ...", file=sys.stderr, flush=True)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle both signals for the block; the handlers from before come back after it."""
        with handlers_kept():
            for kind in KINDS:
                signal.signal(kind, self._handle)
            yield

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note signals for the block: who runs in it looks at `received`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
