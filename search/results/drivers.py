"""The drivers of a study, as `status` shows them."""

from __future__ import annotations

from fmnist_models.config.base import Config
from search.quantities import duration
from search.trials.driver_leases import LEASE_SECONDS
from storage import Launches


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
        state = f"last heard of {duration(self.silent_seconds)} ago"
        if self.is_silent:
            state = "silent, its trials are queued again by the next driver"
        running = duration(self.running_seconds)
        return f"Driver: process {self.pid} on {self.host}, for {running}, {state}."


def drivers_of(launches: Launches) -> list[Driver]:
    """The drivers of a study that have not ended, the oldest first."""
    now = launches.now()
    return [
        Driver(
            host=launch.host.partition(" ")[0],  # which start of it is of no interest
            pid=launch.pid,
            running_seconds=max(0.0, (now - launch.started_at).total_seconds()),
            silent_seconds=max(0.0, (now - launch.heartbeat_at).total_seconds()),
        )
        for launch in launches.open()
    ]
