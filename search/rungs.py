"""A scheduler's view of a study, read from SQL: rebuilt at the start, kept up with all drivers.

The rungs are a function of the stored intermediate values, in the order in which they were stored.
Nothing of it lives in a driver alone, so none of it is lost with one.
"""

from __future__ import annotations

from search.schedulers import TrialScheduler
from storage import Database


class Rungs:
    """Feeds a scheduler with what all drivers of a study have stored."""

    def __init__(
        self, database: Database, study_id: int, study_name: str, scheduler: TrialScheduler
    ) -> None:
        self.database, self.scheduler = database, scheduler
        self._study_id, self._study_name = study_id, study_name
        self._retry_of: dict[int, int] = {}
        self._last = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in what was stored since the last time.

        In `Database.transaction` of the study, before the block stores anything, the scheduler has
        then seen exactly what the block's decision is made after.
        """
        for new in self.database.values_after(self._study_id, self._study_name, self._last):
            if new.retry_of is not None and new.number not in self._retry_of:
                self._retry_of = self.database.retries(self._study_name)
            self.scheduler.observe(self._root(new.number), new.epoch, new.value)
            self._last = new.id

    def _root(self, number: int) -> int:
        """The first trial of the chain of repeats that trial `number` belongs to."""
        while number in self._retry_of:
            number = self._retry_of[number]
        return number
