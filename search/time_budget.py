"""The time that a launch may take (`--time-budget`): made where it starts, asked by all."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf

TRIALS_IN_BUDGET = 3
"""So many trials of equal epochs, one after another, shall fit into a time budget."""


@dataclass(frozen=True)
class Budget:
    """`seconds` from `started`, by the monotonic clock; None is no limit."""

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """When it ends, by the monotonic clock; infinity without a limit."""
        return inf if self.seconds is None else self.started + self.seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the launch started."""
        return time.monotonic() - self.started

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; below 0 after it."""
        return self.deadline - time.monotonic()

    @property
    def is_spent(self) -> bool:
        """Whether the deadline has passed."""
        return self.remaining <= 0

    def seconds_per_epoch(self, epochs: int) -> float | None:
        """How long an epoch may take for `TRIALS_IN_BUDGET` trials of `epochs` epochs to fit in."""
        return None if self.seconds is None else self.seconds / (TRIALS_IN_BUDGET * epochs)
