"""A scheduler's view of a study, read from SQL: rebuilt at the start, kept up with all drivers.

The rungs are a function of the stored intermediate values, in the order in which they were stored.
Nothing of it lives in a driver alone, so none of it is lost with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from search.schedulers.rules import TrialScheduler
from storage import StudyStore


def root_of(number: int, retry_of: Mapping[int, int]) -> int:
    """The first trial of the chain of repeats that trial `number` belongs to."""
    while number in retry_of:
        number = retry_of[number]
    return number


class Rungs:
    """Feeds a scheduler with what all drivers of a study have stored.

    `at_end` gives what is compared for a trial's number, its epoch and the value that it had.
    `curves` are what was compared, by the root of a trial's chain and by epoch.
    """

    def __init__(
        self,
        store: StudyStore,
        scheduler: TrialScheduler,
        at_end: Callable[[int, int, float], float],
    ) -> None:
        self.store, self.scheduler, self._at_end = store, scheduler, at_end
        self.curves: dict[int, dict[int, float]] = {}
        self._retry_of: dict[int, int] = {}
        self._last = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in what was stored since the last time.

        In `StudyStore.transaction`, before the block stores anything, the scheduler has
        then seen exactly what the block's decision is made after.
        """
        for new in self.store.values_after(self._last):
            if new.retry_of is not None and new.number not in self._retry_of:
                self._retry_of = self.store.retries()
            root = root_of(new.number, self._retry_of)
            value = self._at_end(new.number, new.epoch, new.value)
            self.scheduler.observe(root, new.epoch, value)
            if self.scheduler.compares(root, new.epoch):
                self.curves.setdefault(root, {})[new.epoch] = value
            self._last = new.id
