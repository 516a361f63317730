"""What a session hands out and shows: trials that run, trials that ended, and who watches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.lr_schedules import out_of_patience
from fmnist_models.training.metrics import EpochMetrics
from search.schedulers.rules import Decision
from search.trials.driver_leases import LEASE_SECONDS
from search.trials.retry_chain import Chain


@dataclass(frozen=True)
class FaultLimits:
    """How much goes wrong before a session gives up.

    A trial that raised, hung or lost its worker is tried again `retries` times. The database may be
    away for `outage_seconds`, another driver silent for `lease_seconds`.
    """

    retries: int
    outage_seconds: float
    lease_seconds: float = LEASE_SECONDS


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
class TrialStatus:
    """How a trial stands after the epochs that were reported of it.

    `ended` is None while it goes on, and "lost" when it was not this driver's any more.
    `decision` is the scheduler's; None where it was not asked. `unneeded_checkpoints` are the
    numbers of trials whose checkpoints nobody needs from now on.
    """

    ended: Literal["COMPLETE", "PRUNED", "FAIL", "lost"] | None
    decision: Decision | None = None
    unneeded_checkpoints: tuple[int, ...] = ()


@dataclass(frozen=True)
class EndedTrial:
    """A trial that ended in this launch, for the display; `value` as Optuna keeps it."""

    number: int
    state: str
    value: float | None
    epochs: int
    reason: str


@dataclass(frozen=True)
class SearchView:
    """A consistent picture for the display.

    Counts and the best are the study's, over all its drivers; running and ended trials are this
    driver's, `elsewhere` counts those that run at the others.
    """

    running: tuple[LiveTrial, ...]
    counts: dict[str, int]
    best: tuple[int, float] | None
    ended: tuple[EndedTrial, ...]
    elsewhere: int = 0


class SearchObserver(Protocol):
    """Is told what happens in a running search; all calls come from the session's thread."""

    def say(self, text: str) -> None:
        """A line for the user."""

    def note(self, number: int, text: str) -> None:
        """What a worker has to say of a trial."""

    def trial_ended(self, ended: EndedTrial) -> None:
        """A trial ended in this launch."""

    def tick(self) -> None:
        """Some time has passed; called several times a second."""
