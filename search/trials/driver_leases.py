"""Which drivers of a study live, and what becomes of the trials of those that do not.

A driver notes a heartbeat every ten seconds, by the database's clock. It is dead when its process
is gone (seen from the same machine), or when its heartbeat has stood still for the lease: by the
database's clock, and also under the eyes of the driver that judges, on whose monotonic clock some
heartbeats must have failed to come. So no clock that is set, no machine that slept and no database
that was away for everybody makes a living driver a dead one. A driver that was taken for dead
and is not (it was stopped, say) finds its trials ended, drops them and goes on.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from pathlib import Path

from search.trials.retry_chain import give_up
from storage import Launch, Launches, StudyStore

LEASE_SECONDS = 120.0
"""A driver that has not been heard of for this long is taken for dead."""
DIED = "the driver died while it ran"


def host_name() -> str:
    """This machine since its last start, and where there are containers, this one: process
    identifiers that were seen under the same name are of the same processes."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else ""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return " ".join(filter(None, [socket.gethostname(), started, space]))


def process_started(pid: int) -> float | None:
    """When a process was started, in ticks since the machine was; None when it is gone.

    A killed process that nobody collects (in a container, say) counts as gone.
    """
    try:
        # The name, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])


def is_gone(launch: Launch) -> bool:
    """Whether the process of a launch is certain to have ended."""
    if launch.host != host_name():
        return False
    try:
        os.kill(launch.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, who may also hide when it was started
        return False
    return process_started(launch.pid) != launch.process_started


class Watch:
    """One driver's watch over the others of its study; made once a launch, asked now and then.

    To be asked every `heartbeat_seconds`, a twelfth of the lease, which is also how often a driver
    has to note its own heartbeat.
    """

    def __init__(self, launches: Launches, lease_seconds: float = LEASE_SECONDS) -> None:
        self.launches, self.lease_seconds = launches, lease_seconds
        self.heartbeat_seconds = lease_seconds / 12
        # So long must a heartbeat stand still before our eyes, and so long may we look away.
        self._patience = 3 * self.heartbeat_seconds
        self._seen: dict[int, tuple[datetime, float]] = {}
        self._looked = time.monotonic()

    def living(self) -> set[int]:
        """The launches whose drivers run, or may."""
        launches = self.launches.open()
        now, looked = time.monotonic(), self._looked
        self._looked = now
        if now - looked > self._patience:  # we slept, or could not reach the database
            self._seen.clear()
        for launch in launches:
            beat, _ = self._seen.get(launch.id, (None, now))
            if beat != launch.heartbeat_at:
                self._seen[launch.id] = launch.heartbeat_at, now
        clock = self.launches.now()
        return {
            launch.id
            for launch in launches
            if not is_gone(launch) and not self._is_overdue(launch, clock, now)
        }

    def _is_overdue(self, launch: Launch, clock: datetime, now: float) -> bool:
        silence = (clock - launch.heartbeat_at).total_seconds()
        unseen = now - self._seen[launch.id][1]
        # The second, where the database's clock was set back.
        return (silence >= self.lease_seconds and unseen >= self._patience) or (
            unseen >= self.lease_seconds
        )


def reap(
    store: StudyStore,
    living: set[int] | None = None,
    *,
    mine: tuple[int, frozenset[int]] | None = None,
) -> list[int]:
    """Put right what dead drivers left behind: their running trials FAIL and are queued again.

    `living` are the launches to spare; without it all but those whose process is gone for certain.
    Of the caller's own launch, `mine`, all trials but those it names are given up too: it does not
    know of them, because the answer to its reservation was lost. Returns the numbers.
    """
    if living is None:
        living = {launch.id for launch in store.launches.open() if not is_gone(launch)}
    own, known = mine or (None, frozenset())
    dead = []
    for trial in store.running_trials():
        is_mine = own is not None and trial.launch_id == own
        if trial.number in known if is_mine else trial.launch_id in living:
            continue
        number = give_up(store, trial.trial_id, DIED, died=True)
        dead += [] if number is None else [number]
    return dead
