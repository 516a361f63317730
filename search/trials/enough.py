"""When a search has tried enough: no other trial is worth its time, or ends in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from search.trials.live_trial import LiveTrial


@dataclass(frozen=True)
class Verdict:
    """Why no other trial is begun, and whether all that run come to their end all the same."""

    reason: str
    all_end: bool


class Enough:
    """Asks `why`, which gives a verdict or None; the first verdict is said and holds for good."""

    def __init__(self, why: Callable[[], Verdict | None], say: Callable[[str], None]) -> None:
        self._why, self._say = why, say
        self.verdict: Verdict | None = None

    def ask(self) -> None:
        """Ask again, as a trial has ended."""
        if self.verdict is None:
            self.verdict = self._why()
            if self.verdict:
                self._say(self.verdict.reason)

    def is_over(self, running: Iterable[LiveTrial]) -> bool:
        """Whether none of those that run is waited for either."""
        if self.verdict is None:
            return False
        return not any(self.verdict.all_end or _is_worth_waiting_for(trial) for trial in running)


def _is_worth_waiting_for(trial: LiveTrial) -> bool:
    """Whether it is a known-good point, or has half of its epochs behind it."""
    return trial.known_good or 2 * len(trial.accuracies) >= trial.config.epochs
