"""When a search has tried enough: no other trial is worth its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from search.trials.live_trial import LiveTrial


class Enough:
    """Asks `why`, which gives a reason or None; the first reason is said and holds for good."""

    def __init__(self, why: Callable[[], str | None], say: Callable[[str], None]) -> None:
        self._why, self._say = why, say
        self.is_tried = False

    def ask(self) -> None:
        """Ask again, as a trial has ended."""
        reason = None if self.is_tried else self._why()
        if reason:
            self.is_tried = True
            self._say(reason)


def are_worth_waiting_for(running: Iterable[LiveTrial]) -> bool:
    """Whether a known-good point is among them, or a trial with half of its epochs behind it."""
    return any(t.known_good or 2 * len(t.accuracies) >= t.config.epochs for t in running)
