"""The drivers of a study, as `status` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from fmnist_models.config.base import Config
from search.quantities import duration
from search.trials.driver_leases import LEASE_SECONDS
from storage import Launch, Launches


class Driver(Config):
    """A driver that has not ended in order; `silent_seconds` since its last heartbeat.

    One that has been silent for too long is dead or out of reach of the database.
    """

    host: str
    pid: int
    running_seconds: float
    silent_seconds: float

    @property
    def is_silent(self) -> bool:
        """Whether other drivers would take its trials over."""
        return self.silent_seconds >= LEASE_SECONDS

    @property
    def line(self) -> str:
        """The driver in words."""
        heard = f"last heard of {duration(self.silent_seconds)} ago"
        state = (
            "silent, its trials are queued again by the next driver" if self.is_silent else heard
        )
        return (
            f"Driver: process {self.pid} on {self.host}, for {duration(self.running_seconds)}, "
            f"{state}."
        )


def drivers_of(launches: Launches) -> list[Driver]:
    """The drivers of a study that have not ended, the oldest first."""
    return [_driver(launch, launches.now()) for launch in launches.open()]


def _driver(launch: Launch, now: datetime) -> Driver:
    return Driver(
        host=launch.host.partition(" ")[0],  # which start of it is of no interest
        pid=launch.pid,
        running_seconds=max(0.0, (now - launch.started_at).total_seconds()),
        silent_seconds=max(0.0, (now - launch.heartbeat_at).total_seconds()),
    )


def drivers_as_json(drivers: Sequence[Driver]) -> list[JsonValue]:
    """Drivers as JSON values."""
    return [driver.model_dump(mode="json") for driver in drivers]
