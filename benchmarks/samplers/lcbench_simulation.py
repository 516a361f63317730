"""Search in simulated time: who asks for trials is told their values as workers would tell them.

Four workers; an epoch takes as long as the surrogate says; results come one at a time in that
order. What was paused goes on from its last epoch, as from a checkpoint.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.samplers.lcbench_surrogate import EPOCHS, Array, suggest
from search.schedulers.rules import TrialScheduler, make_scheduler

WORKERS, GRACE, FACTOR = 4, 3, 3
BUDGETS = (10, 25, 50)
"""Full trainings."""
FIRST_COUNTED = 3
Verdict = Literal["continue", "pause", "stop"]


class Tuner(Protocol):
    """One method at work: a sampler and who stops trials, ours or another's. It numbers trials."""

    def next_trial(self) -> tuple[int, dict[str, Any]]:
        """Number and parameters of what a free worker runs: new, or paused before and going on."""

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Take in the value of an epoch; after the last one a trial is at its end in any case."""


class Curves(Protocol):
    """What takes the place of training: a surrogate."""

    def curve(self, params: dict[str, Any]) -> tuple[Array, Array]:
        """Value, and cumulative seconds, after each epoch: (epochs,) each."""


class Result(NamedTuple):
    """What a worker reports, and what the trial would have after its last epoch."""

    value: float
    epoch: int
    final: float


@dataclass
class _Curve:
    values: Array
    seconds: Array
    epoch: int = 0

    def next_seconds(self) -> float:
        """Go to the next epoch; how long it takes."""
        self.epoch += 1
        before = float(self.seconds[self.epoch - 2]) if self.epoch > 1 else 0.0
        return max(float(self.seconds[self.epoch - 1]) - before, 1e-3)


def results(tuner: Tuner, surrogate: Curves) -> Iterator[Result]:
    """Result by result in simulated time, without end."""
    queue: list[tuple[float, int, int]] = []
    curves: dict[int, _Curve] = {}
    order = iter(range(10**9))

    def run(now: float, number: int) -> None:
        heapq.heappush(queue, (now + curves[number].next_seconds(), next(order), number))

    def start(now: float) -> None:
        number, params = tuner.next_trial()
        if number not in curves:
            curves[number] = _Curve(*surrogate.curve(params))
        run(now, number)

    for _ in range(WORKERS):
        start(0.0)
    while True:
        now, _, number = heapq.heappop(queue)
        curve = curves[number]
        value = float(curve.values[curve.epoch - 1])
        verdict = tuner.judge(number, curve.epoch, value)
        yield Result(value, curve.epoch, float(curve.values[-1]))
        if verdict == "continue":
            run(now, number)
        else:
            start(now)


def simulate(tuner: Tuner, surrogate: Curves) -> tuple[list[float], float]:
    """The incumbent's value after 52 epochs at each budget; and the CPU seconds that it took."""
    started = time.process_time()
    found, incumbent, highest = [], 0.0, -np.inf
    for used, result in enumerate(results(tuner, surrogate), start=1):
        if result.epoch >= FIRST_COUNTED and result.value > highest:
            highest, incumbent = result.value, result.final
        if used in [budget * EPOCHS for budget in BUDGETS]:
            found.append(incumbent)
        if len(found) == len(BUDGETS):
            break
    return found, time.process_time() - started


@dataclass(frozen=True)
class Method:
    """How configurations are chosen (by seed), and trials stopped: by our scheduler or a pruner.

    Trials that were stopped are told COMPLETE with their last value where `complete` says so.
    """

    sampler: Callable[[int], optuna.samplers.BaseSampler]
    scheduler: str = "fifo"
    pruner: Callable[[], optuna.pruners.BasePruner] = optuna.pruners.NopPruner
    complete: bool = False
    grace: int = GRACE
    epochs: int = EPOCHS
    suggest: Callable[[optuna.Trial], dict[str, Any]] = suggest

    def __call__(self, seed: int) -> OptunaTuner:
        return OptunaTuner(self, seed)


class OptunaTuner:
    """A study by ask and tell, with our scheduler or an Optuna pruner, as the session does it."""

    def __init__(self, method: Method, seed: int) -> None:
        self._method = method
        self.study = optuna.create_study(
            study_name=f"seed {seed}",  # HyperbandPruner draws a trial's bracket from the name
            direction="maximize",
            sampler=method.sampler(seed),
            pruner=method.pruner(),
        )
        self._scheduler: TrialScheduler = make_scheduler(
            method.scheduler,
            grace_period=method.grace,
            reduction_factor=FACTOR,
            epochs=method.epochs,
        )
        self._running: dict[int, optuna.Trial] = {}

    def next_trial(self) -> tuple[int, dict[str, Any]]:
        trial = self.study.ask()
        self._running[trial.number] = trial
        return trial.number, self._method.suggest(trial)

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        trial = self._running[number]
        trial.report(value, epoch)
        last = self._method.epochs
        if epoch < last and self._goes_on(trial, epoch, value):
            return "continue"
        ended = self._method.complete or epoch == last
        self.study.tell(trial, value if ended else None, None if ended else TrialState.PRUNED)
        del self._running[number]
        return "stop"

    def _goes_on(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        if trial.should_prune():
            return False
        decision = self._scheduler.decide(trial.number, epoch, value)
        self._scheduler.observe(trial.number, epoch, value)
        return decision.action == "continue"
