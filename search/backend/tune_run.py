"""One run of Ray Tune: its only way into the session, and who leaves it alone where Ray is dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

from search.backend.ray_watch import RayDied, RayWatch
from search.planning.plan import SearchPlan
from search.quantities import duration
from search.trials.supervisor import LONGEST_TURN_SECONDS, Supervisor
from search.workers.messages import WorkerSettings

LOOK_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""So long may a call take that a dead Ray may never answer, or Ray Tune until it ends."""
STANDSTILL_SECONDS = 300.0
"""A Ray of our own that has not done anything for so long will not do it any more."""


class StopTune(BaseException):
    """Ends Ray Tune at once, between two events: by itself it would wait for epochs to end.

    No Exception, so that nothing in Ray Tune takes it for a trial's.
    """


@dataclass
class TuneRun:
    """What Ray Tune's adapters share: whom they hand on to, and Ray's live trials by our numbers.

    One thread at a time has the session: Ray Tune's, until this run is left alone.
    """

    supervisor: Supervisor
    plan: SearchPlan
    settings: WorkerSettings
    watch: RayWatch
    trials: dict[int, Any] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    is_left: bool = False
    _looked: float = field(default_factory=time.monotonic)
    _turned: float = field(default_factory=time.monotonic)
    _worked: float = field(default_factory=time.monotonic)

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its experiments to disk; of a search nothing is kept there, SQL has it."""
        return {}

    @contextmanager
    def session(self) -> Iterator[Supervisor]:
        """The supervisor for the block; ends Tune where this run has been left alone."""
        with self._lock:
            if self.is_left:
                raise StopTune
            began = time.monotonic()
            yield self.supervisor
            self._turned = time.monotonic()
            self._worked += self._turned - began  # it may have waited for the database

    def leave(self) -> None:
        """Let Tune's thread no more into the session, once it has come out of it."""
        with self._lock:
            self.is_left = True

    def turn(self) -> None:
        """A turn of Tune's loop; ends Tune where the search is to stop."""
        self.trials = {n: t for n, t in self.trials.items() if not t.is_finished()}
        workers = {n: t.temporary_state.ray_actor for n, t in self.trials.items()}
        with self.session() as supervisor:
            is_to_stop = supervisor.turn(workers)
        if self.watch.joined or not workers or any(workers.values()):
            self._worked = time.monotonic()
        if is_to_stop:
            raise StopTune

    def standstill(self) -> str | None:
        """Why Ray does not go on although it lives, in words; to be asked every few seconds.

        A cluster may be busy with others' work: there a trial may wait for its worker.
        """
        now = time.monotonic()
        looked, self._looked = self._looked, now
        if now - looked > LONGEST_TURN_SECONDS:  # this process was stopped itself
            self._turned = self._worked = now
        if self._lock.locked():
            return None
        if now - self._turned > STANDSTILL_SECONDS:
            return f"nothing came from it for {duration(STANDSTILL_SECONDS)}"
        if now - self._worked > STANDSTILL_SECONDS:
            return f"no trial was given a worker for {duration(STANDSTILL_SECONDS)}"
        return None


def run_watched(run: TuneRun, tune: Callable[[], None]) -> None:
    """Run Ray Tune in a thread of its own, to be left alone where Ray dies or does not go on.

    A call of Ray's core that waits for a dead Ray never returns, nor can anything interrupt it.
    Raises what `tune` raises, and RayDied.
    """
    is_over = Event()
    raised: list[BaseException] = []

    def hold() -> None:
        try:
            tune()
        except BaseException as error:
            raised.append(error)
            is_over.set()
            if run.is_left or run.watch.death():
                # For ever: whoever collects what Tune had calls Ray for it, and waits.
                Event().wait()
        finally:
            is_over.set()

    Thread(target=hold, name="tune", daemon=True).start()
    while not is_over.wait(LOOK_SECONDS):
        if death := run.watch.death() or run.standstill():
            run.leave()
            is_over.wait(LEAVE_SECONDS)
            raise RayDied(f"Ray died: {death}")
    if raised and isinstance(raised[0], Exception):
        if death := run.watch.death():
            raise RayDied(f"Ray died: {death}") from raised[0]
        raise raised[0]
