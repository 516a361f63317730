"""Supervises the workers: hands their messages to the session, and ends those that have stalled.

No Ray here: a worker is a handle that the runner of the trials can kill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from fmnist_models.config.base import explain
from search.planning.trial_needs import TrialNeeds
from search.quantities import duration
from search.signals import StopRequest
from search.trials.live_trial import SearchObserver
from search.trials.session import SearchSession
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import (
    Failed,
    Failure,
    FailureKind,
    Resumed,
    StartedTrial,
    WorkerMessage,
    parse_message,
)

Answer = TypeVar("Answer")
LONGEST_TURN_SECONDS = 5.0
"""A turn of the runner's loop that takes longer was held up, by the database say, and nobody's
silence meanwhile is held against a worker."""


@dataclass
class _WatchedTrial:
    """A trial in a worker's hands, and since when its epoch runs.

    `worker` is None while the trial waits for a place, and time does not count.
    """

    started: StartedTrial
    timeout_seconds: float
    worker: Any = None
    since: float = 0.0


class Supervisor:
    """Stands between the runner of the trials and a session.

    No exception of the session reaches the runner: the first is kept in `error`, and from then on
    nothing happens but that all is to stop. `epoch_timeout` gives the seconds after which an epoch
    of a trial has stalled; `needs` learns what trials take; `kill` ends a worker, whatever it is
    doing; `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        session: SearchSession,
        *,
        observer: SearchObserver,
        stop: StopRequest,
        needs: TrialNeeds,
        checkpoints: CheckpointStore,
        epoch_timeout: Callable[[StartedTrial], float],
        kill: Callable[[Any], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session, self.needs = session, needs
        self._observer, self._stop, self._checkpoints = observer, stop, checkpoints
        self._epoch_timeout, self._kill, self._clock = epoch_timeout, kill, clock
        self.error: Exception | None = None
        self._watched: dict[int, _WatchedTrial] = {}
        self._last_turn = clock()

    def _attempt(self, function: Callable[..., Answer], *arguments: Any) -> Answer | None:
        """`function(*arguments)`, or None once anything has gone wrong."""
        if self.error is None:
            try:
                return function(*arguments)
            except Exception as error:
                self.error = error
        return None

    @property
    def is_over(self) -> bool:
        """Whether no more trials are to be started."""
        return self.error is not None or self.session.is_done

    @property
    def is_to_stop(self) -> bool:
        """Whether those that run are to be stopped as well."""
        return self.is_over or self._stop.is_due()

    def next_trial(self) -> StartedTrial | None:
        """The next trial, watched from now on; None while there is none to be started."""
        return self._attempt(self._start_next)

    def _start_next(self) -> StartedTrial | None:
        started = self.session.next_trial()
        if started is not None:
            self._watched[started.number] = _WatchedTrial(started, self._epoch_timeout(started))
        return started

    def turn(self, workers: Mapping[int, Any]) -> bool:
        """To be called in every turn of the runner's loop; whether all is to stop.

        `workers` maps the numbers of trials to their workers, None for those that wait for one.
        """
        self._attempt(self.session.heartbeat)
        self._attempt(self._observer.tick)
        self._attempt(self._end_stalled, workers)
        return self.is_to_stop

    def _end_stalled(self, workers: Mapping[int, Any]) -> None:
        now = self._clock()
        held_up = now - self._last_turn
        self._last_turn = now
        for number, watched in list(self._watched.items()):
            worker = workers.get(number)
            if worker is None or worker is not watched.worker:
                watched.worker, watched.since = worker, now
            elif held_up > LONGEST_TURN_SECONDS:
                watched.since += held_up
            elif now - watched.since > watched.timeout_seconds:
                self._kill(worker)
                timeout = f"{duration(watched.timeout_seconds)} (--trial-timeout)"
                self._fail(number, "hung", f"an epoch took longer than {timeout}, so it was ended")

    def kill_all(self) -> None:
        """End every worker that holds a trial; what they had is given up by the session's end."""
        for watched in self._watched.values():
            if watched.worker is not None:
                self._kill(watched.worker)

    def result(self, number: int, message: str) -> bool:
        """Take a worker's message, as JSON; whether its trial goes on."""
        return bool(self._attempt(self._handle, number, message))

    def _handle(self, number: int, text: str) -> bool:
        if number not in self._watched:
            return False  # what a worker said just before it was ended
        self._watched[number].since = self._clock()
        try:
            message = parse_message(text)
        except ValidationError as error:
            reason = f"it reported impossible metrics: {explain(error)}"
            message = Failed(failure=Failure(kind="bad_report", reason=reason))
        goes_on = self._pass_on(number, message)
        if not goes_on:
            del self._watched[number]
        return goes_on

    def _pass_on(self, number: int, message: WorkerMessage) -> bool:
        """Tell the session; whether the trial goes on."""
        if isinstance(message, Failed):
            self.session.fail(number, message.failure)
            return False
        if message.note:
            self._observer.note(number, message.note)
        if isinstance(message, Resumed):
            status = self.session.resume(number, message.epochs)
        else:
            self.needs.learn(self._watched[number].started, message.metrics)
            status = self.session.report(number, message.metrics)
        for unneeded in status.unneeded_checkpoints:
            self._checkpoints.discard(unneeded)
        return status.ended is None

    def lost(self, number: int, reason: str) -> None:
        """A worker ended without a word of its own; unless it was ended for being silent."""
        if number in self._watched:
            self._attempt(self._fail, number, "worker_died", reason)

    def lose_all(self, reason: str) -> None:
        """The runner itself failed, and every worker with it."""
        for number in list(self._watched):
            self.lost(number, reason)

    def interrupt_all(self, reason: str) -> None:
        """Every worker is gone through no fault of its trial."""
        self._watched.clear()
        self._attempt(self.session.interrupt, reason)

    def _fail(self, number: int, kind: FailureKind, reason: str) -> None:
        del self._watched[number]
        self.session.fail(number, Failure(kind=kind, reason=reason))
