"""Whether Ray lives.

Nobody else notices: where its raylet is gone Ray Tune waits for ever, and 60 s after its control
store (gcs_server) is gone Ray's core ends this process, without a word to anybody.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from search.backend.session_folder import processes_of_session
from search.errors import SurroundingsError

SERVERS = ("gcs_server", "raylet")
"""The processes without which nothing of Ray goes on."""
CONNECT_SECONDS = 2.0
JOINED_PATIENCE_SECONDS = 40.0
"""So long may a cluster's control store be away: some clusters start theirs anew."""


class RayDied(SurroundingsError):
    """Ray has died under a search, or does not go on."""


class RayWatch:
    """Looks after the Ray that this process is connected to.

    `processes` are those of its servers that run on this machine; `joined` the address (HOST:PORT)
    of the control store of a cluster that is not ours. `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        processes: Sequence[psutil.Process],
        *,
        joined: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes = [(process.name(), process) for process in processes]
        self.joined, self._clock = joined, clock
        self._silent_since: float | None = None

    def death(self) -> str | None:
        """What has died, in words; None while Ray lives."""
        for name, process in self._processes:
            if not _runs(process):
                return f"its {name} is gone"
        if self.joined is None or self._answers(self.joined):
            self._silent_since = None
            return None
        now = self._clock()
        if self._silent_since is None:
            self._silent_since = now
        silence = now - self._silent_since
        return f"{self.joined} no longer answers" if silence >= JOINED_PATIENCE_SECONDS else None

    def _answers(self, address: str) -> bool:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError:
            return False
        return True


def watch_ours(folder: Path) -> RayWatch:
    """The watch of the Ray that this process has started, whose session is in `folder`."""
    return RayWatch([p for p in processes_of_session(folder) if p.name() in SERVERS])


def watch_joined(about: Mapping[str, Any]) -> RayWatch:
    """The watch of a cluster that this process has joined; `about` is ray.init's `address_info`."""
    raylet = f"--raylet_socket_name={about['raylet_socket_name']}"
    running = psutil.process_iter(["cmdline"])
    found = [p for p in running if raylet in (p.info["cmdline"] or ())]
    return RayWatch(found, joined=about["gcs_address"])


Trials = Callable[[RayWatch, Any], None]
"""Runs trials on a Ray that is ready, given its watch and the class of the workers (None: the usual
one). Raises RayDied."""


def _runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that has and that nobody collects counts as ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
