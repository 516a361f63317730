"""Between a runner of trials and the session: what workers say, and what becomes of silent ones.

No Ray here: a worker is a handle that the runner can kill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import Field, ValidationError

from fmnist_models.config.base import Config, explain
from fmnist_models.training.metrics import EpochMetrics
from search.planning.gpu_sharing import Needs
from search.quantities import duration
from search.trials.session import SearchSession
from search.workers.messages import (
    FAILURE,
    METRICS,
    NOTE,
    RESUMED,
    Failure,
    FailureKind,
    StartedTrial,
)

LONGEST_TURN_SECONDS = 5.0
"""A turn of the runner's loop that takes longer was held up, by the database say, and nobody's
silence meanwhile is held against a worker."""


@dataclass
class Control:
    """What the outside may tell a running search, and what it tells back.

    `should_stop` is asked several times a second; `on_step` is called as often. `epoch_limit` gives
    the seconds after which an epoch of a trial counts as hung; `note` is told what a worker has to
    say of a trial; `ended` is told the numbers of trials whose checkpoints nobody needs any more.
    `needs` knows what a trial will take, and is told what it took.
    """

    should_stop: Callable[[], bool]
    on_step: Callable[[], None]
    epoch_limit: Callable[[StartedTrial], float] = lambda started: float("inf")
    note: Callable[[int, str], None] = lambda number, text: None
    ended: Callable[[int], None] = lambda number: None
    needs: Needs = field(default_factory=Needs)


@dataclass
class _Watched:
    """A trial in a worker's hands: seconds that an epoch may take, and since when this one runs.

    `worker` is None while the trial waits for a place, and time does not count.
    """

    started: StartedTrial
    limit: float
    worker: Any = None
    since: float = 0.0


class _Resumed(Config):
    """The epochs that a trial's checkpoint held, from the first."""

    epochs: Annotated[list[EpochMetrics], Field(min_length=1)]


class Link:
    """Hands on between the runner and a session, and keeps an exception from breaking the runner.

    `kill` ends a worker, whatever it is doing; `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        session: SearchSession,
        control: Control,
        kill: Callable[[Any], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session, self.control, self.kill, self._clock = session, control, kill, clock
        self.error: Exception | None = None
        self._watched: dict[int, _Watched] = {}
        self._last_turn = clock()

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its experiments to disk; of a search nothing is kept there, SQL has it."""
        return {}

    def call(self, function: Callable[[], Any], otherwise: Any) -> Any:
        """`function()`, or `otherwise` once anything has gone wrong."""
        if self.error is None:
            try:
                return function()
            except Exception as error:
                self.error = error
        return otherwise

    @property
    def is_over(self) -> bool:
        """Whether no more trials are to be started."""
        return self.error is not None or self.session.is_done

    def next_trial(self) -> StartedTrial | None:
        """The next trial, watched from now on; None while there is none to be started."""
        started = self.session.next_trial()
        if started is not None:
            limit = self.control.epoch_limit(started)
            self._watched[started.number] = _Watched(started, limit)
        return started

    def turn(self, workers: Mapping[int, Any]) -> bool:
        """To be called in every turn of the runner's loop; whether all is to stop.

        `workers` maps the numbers of trials to their workers, None for those that wait for one.
        """
        self.call(self.session.heartbeat, None)
        self.call(self.control.on_step, None)
        self.call(lambda: self._end_hung(workers), None)
        return self.is_over or self.control.should_stop()

    def _end_hung(self, workers: Mapping[int, Any]) -> None:
        now = self._clock()
        held_up = now - self._last_turn
        self._last_turn = now
        for number, watched in list(self._watched.items()):
            worker = workers.get(number)
            if worker is None or worker is not watched.worker:
                watched.worker, watched.since = worker, now
            elif held_up > LONGEST_TURN_SECONDS:
                watched.since += held_up
            elif now - watched.since > watched.limit:
                self.kill(worker)
                allowed = f"{duration(watched.limit)} (--trial-timeout)"
                self._fail(number, "hung", f"an epoch took longer than {allowed}, so it was ended")

    def kill_all(self) -> None:
        """End every worker that holds a trial; what they had is given up by the session's end."""
        for watched in self._watched.values():
            if watched.worker is not None:
                self.kill(watched.worker)

    def result(self, number: int, result: Mapping[str, Any]) -> bool:
        """Take in a worker's result, keys joined by slashes; whether the trial goes on."""
        if number not in self._watched:
            return False  # what a worker said just before it was ended
        self._watched[number].since = self._clock()
        if note := result.get(NOTE):
            self.control.note(number, str(note))
        goes_on = self._take_in(number, result)
        if not goes_on:
            self._watched.pop(number, None)
        return goes_on

    def _take_in(self, number: int, result: Mapping[str, Any]) -> bool:
        try:
            if failure := _part(result, FAILURE):
                return self._end(number, Failure.model_validate(failure))
            if resumed := _part(result, RESUMED):
                epochs = _Resumed.model_validate(resumed).epochs
                decision = self.session.resume(number, epochs)
            else:
                metrics = EpochMetrics.model_validate(_part(result, METRICS))
                self.control.needs.learn(self._watched[number].started, metrics)
                decision = self.session.report(number, metrics)
        except ValidationError as error:
            reason = f"it reported impossible metrics: {explain(error)}"
            return self._end(number, Failure(kind="bad_report", reason=reason))
        if decision is not None and decision.action == "continue":
            return True
        if any(ended.number == number for ended in self.session.view().ended):
            for done in (number, *self._watched[number].started.resume_from):
                self.control.ended(done)
        return False

    def _end(self, number: int, failure: Failure) -> bool:
        self.session.fail(number, failure)
        return False

    def lost(self, number: int, reason: str) -> None:
        """A worker ended without a word of its own; unless it was ended for being silent."""
        if number in self._watched:
            self._fail(number, "worker_died", reason)

    def lose_all(self, reason: str) -> None:
        """The runner itself failed, and every worker with it."""
        for number in list(self._watched):
            self.call(partial(self.lost, number, reason), None)

    def _fail(self, number: int, kind: FailureKind, reason: str) -> None:
        del self._watched[number]
        self.session.fail(number, Failure(kind=kind, reason=reason))


def _part(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a result under `name`, which Ray hands over as name/key."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in result.items() if k.startswith(prefix)}
