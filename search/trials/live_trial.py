"""What a session hands out and shows: trials to train, trials that run, trials that ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.lr_schedules import out_of_patience
from fmnist_models.training.metrics import EpochMetrics
from search.trials.driver_leases import LEASE_SECONDS
from search.trials.retry_chain import Chain


@dataclass(frozen=True)
class Tolerance:
    """What a session puts up with, and whom it asks and tells meanwhile.

    A trial that raised, hung or lost its worker is tried again `retries` times. The database may be
    away for `outage_seconds`; `should_end` says that it is not to be waited for any longer.
    `check_space` raises when there is no room for another trial. `say` gets lines for the user.
    """

    retries: int = 2
    outage_seconds: float = 300.0
    lease_seconds: float = LEASE_SECONDS
    check_space: Callable[[], None] = lambda: None
    should_end: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class LiveTrial:
    """A running trial; `last` is None before its first epoch, `trial_id` Optuna's identifier."""

    number: int
    config: TrialConfig
    trial_id: int = 0
    chain: Chain = field(default_factory=Chain)
    last: EpochMetrics | None = None
    accuracies: tuple[float, ...] = ()

    @property
    def known_good(self) -> bool:
        """Whether it is one of the space's known-good points."""
        return self.chain.known_good is not None

    @property
    def root(self) -> int:
        """The first trial of its chain of repeats, by which schedulers know it."""
        return self.chain.root(self.number)

    @property
    def ending(self) -> str | None:
        """Why a trial with these epochs is COMPLETE, or None if it is not yet."""
        if self.last and self.last.epoch >= self.config.epochs:
            return "all epochs done"
        if out_of_patience(self.accuracies, self.config.patience):
            return f"no better in the last {self.config.patience} epochs (patience)"
        return None


@dataclass(frozen=True)
class Ended:
    """A trial that ended in this launch, for the display; `value` as Optuna keeps it."""

    number: int
    state: str
    value: float | None
    epochs: int
    reason: str


@dataclass(frozen=True)
class View:
    """A consistent picture for the display.

    Counts and the best are the study's, over all its drivers; running and ended trials are this
    driver's, `elsewhere` counts those that run at the others.
    """

    running: tuple[LiveTrial, ...]
    counts: dict[str, int]
    best: tuple[int, float] | None
    ended: tuple[Ended, ...]
    elsewhere: int = 0


@dataclass
class Failures:
    """Failures in a row that were not tried again, and the reason of the first of all."""

    in_a_row: int = 0
    first: str | None = None

    def note(self, reason: str, *, is_last: bool) -> None:
        """A trial failed; `is_last` says that it is not tried again."""
        self.first = self.first or reason
        self.in_a_row += is_last

    def forget(self) -> None:
        """A trial came to its end."""
        self.in_a_row, self.first = 0, None
