"""Drives a real SearchSession without Ray: trains nothing, reports made-up curves.

As a program, and forked by `start_driver`, it is a driver that can be killed:
    python -m tests.search.loop URL TRIALS FOLDER
It appends to FOLDER/acknowledged a line "number epoch accuracy" for each epoch that was
acknowledged, and keeps a checkpoint of every trial in FOLDER/checkpoints, as a worker does.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkProcess
from pathlib import Path

import optuna

from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.metrics import EpochMetrics
from search.planning.plan import TRIAL_SECONDS
from search.schedulers.rules import Decision, make_scheduler
from search.settings import make_settings
from search.signals import StopRequest
from search.time_budget import Budget
from search.trials.driver_leases import reap
from search.trials.live_trial import EndedTrial, FaultLimits, SearchObserver
from search.trials.session import SearchSession
from search.trials.study import enqueue_points, open_study, start_launch
from search.workers.messages import StartedTrial
from spaces import SpaceContext, get_space
from storage import Database, JsonObject, open_database
from tests.search.made_up_curves import curve, metrics

EPOCHS = 9
STUDY = "made-up"
ENVIRONMENT: JsonObject = {"validation_images": 10_000}
LIMITS = FaultLimits(retries=2, outage_seconds=300.0)
IDENTITY: JsonObject = {"space": "quick", "space_version": 1, "epochs": EPOCHS}

Told = Callable[[int, EpochMetrics, Decision | None], None]


class Listener:
    """An observer that shows nothing and keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.notes: list[tuple[int, str]] = []
        self.ended: list[EndedTrial] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def note(self, number: int, text: str) -> None:
        self.notes.append((number, text))

    def trial_ended(self, ended: EndedTrial) -> None:
        self.ended.append(ended)

    def tick(self) -> None:
        pass


class Checkpoints:
    """What a worker keeps on the disk of each trial: here, its epochs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, number: int, epochs: Sequence[EpochMetrics]) -> None:
        """Keep the epochs of a trial, the old ones or the new, never half."""
        text = json.dumps([m.model_dump() for m in epochs])
        half = self.folder / f"{number}.half"
        half.write_text(text)
        half.replace(self.folder / f"{number}.json")

    def load(self, numbers: Sequence[int]) -> list[EpochMetrics]:
        """Give the epochs of the first trial that has a checkpoint."""
        for number in numbers:
            path = self.folder / f"{number}.json"
            if path.exists():
                return [EpochMetrics.model_validate(m) for m in json.loads(path.read_text())]
        return []


@dataclass
class Worker:
    """Stands for the process that trains one trial, an epoch a step."""

    session: SearchSession
    started: StartedTrial
    told: Told
    checkpoints: Checkpoints | None = None
    epochs: list[EpochMetrics] = field(default_factory=list)
    is_fresh: bool = True

    def step(self) -> bool:
        """Report the next epoch, or at first those of a checkpoint; whether the trial goes on."""
        number, found = self.started.number, []
        if self.is_fresh and self.checkpoints:
            found = self.checkpoints.load(self.started.resume_from)
        self.is_fresh = False
        if found:
            self.epochs = found
        else:
            epoch = len(self.epochs) + 1
            self.epochs.append(metrics(epoch, curve(self.started.config.seed, epoch)))
        if self.checkpoints:
            self.checkpoints.save(number, self.epochs)
        if found:
            status = self.session.resume(number, found)
        else:
            status = self.session.report(number, self.epochs[-1])
        if status.ended != "lost":
            for reported in found or self.epochs[-1:]:
                self.told(number, reported, status.decision)
        return status.ended is None


def open_session(
    database: Database,
    trials: int,
    scheduler: str = "asha",
    sampler: str = "tpe",
    epochs: int = EPOCHS,
    study: str = STUDY,
    limits: FaultLimits = LIMITS,
    observer: SearchObserver | None = None,
    stop: StopRequest | None = None,
    check_space: Callable[[], None] = lambda: None,
    epoch_images: Callable[[TrialConfig], int] | None = None,
) -> SearchSession:
    """Open a study and start a launch on it, in the order of search/launch.py.

    With `epoch_images` its trials have equal time.
    """
    settings = make_settings(
        space="quick", trials=trials, study=study, sampler=sampler, scheduler=scheduler
    )
    by_time = {TRIAL_SECONDS: 60.0} if epoch_images else {}
    store = open_study(database, settings, {**IDENTITY, "epochs": epochs, **by_time})
    reap(store)
    space, context = get_space("quick"), SpaceContext(epochs)
    if epoch_images:
        context = replace(context, epoch_images=epoch_images)
    enqueue_points(store, space, context)
    rules = make_scheduler(
        scheduler, grace_period=1, reduction_factor=3, epochs=epochs, trials=trials
    )
    launch = start_launch(store, settings, ENVIRONMENT)
    return SearchSession(
        store=store,
        launch_id=launch,
        space=space,
        context=context,
        scheduler=rules,
        trials=trials,
        limits=limits,
        observer=observer or Listener(),
        stop=stop or StopRequest(Budget()),
        check_space=check_space,
    )


def drive(
    session: SearchSession,
    *,
    at_once: int = 2,
    epochs: int = 10**9,
    told: Told = lambda number, reported, decision: None,
    checkpoints: Checkpoints | None = None,
    pause_seconds: float = 0.0,
) -> None:
    """Run trials, `at_once` of them in turns, until the session ends or `epochs` were reported.

    Those that the session has running already are gone on with.
    """
    live = [
        Worker(
            session,
            StartedTrial(number=t.number, config=t.config, resume_from=t.chain.repeats),
            told,
            checkpoints,
            [metrics(epoch, accuracy) for epoch, accuracy in enumerate(t.accuracies, 1)],
            is_fresh=not t.accuracies,
        )
        for t in session.view().running
    ]
    steps = 0
    while not session.is_done and steps < epochs:
        session.heartbeat()
        while len(live) < at_once and (started := session.next_trial()) is not None:
            live.append(Worker(session, started, told, checkpoints))
        for worker in list(live):
            time.sleep(pause_seconds)
            steps += 1
            if not worker.step():
                live.remove(worker)
        if not live:
            time.sleep(0.02)  # other drivers have the slots that are left


def search(database: Database, trials: int, scheduler: str = "asha") -> SearchSession:
    """Run a whole launch to its end."""
    session = open_session(database, trials, scheduler)
    drive(session)
    session.close("done")
    return session


def main(
    url: str,
    trials: int,
    folder: Path,
    scheduler: str = "asha",
    limits: FaultLimits = LIMITS,
    pause_seconds: float = 0.0,
    stop_after: int | None = None,
    company: int = 1,
) -> None:
    """Run one launch that writes down what was acknowledged.

    It goes on when `company` drivers have begun a trial each: whoever writes without a pause can
    keep all others from SQLite's lock until nothing is left to do. After `stop_after` epochs it
    stops itself (SIGSTOP), between two of them.
    """
    random.seed()  # not as the process that this one was forked from
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open_database(url) as database,
        (folder / "acknowledged").open("a", buffering=1) as file,
    ):
        session = open_session(database, trials, scheduler, limits=limits)
        session.next_trial()
        while len({record.launch_id for record in session.store.trial_records()}) < company:
            time.sleep(0.02)
        count = itertools.count(1)

        def told(number: int, reported: EpochMetrics, decision: Decision | None) -> None:
            print(number, reported.epoch, reported.val_accuracy, file=file, flush=True)
            if next(count) == stop_after:
                os.kill(os.getpid(), signal.SIGSTOP)

        drive(
            session,
            told=told,
            checkpoints=Checkpoints(folder / "checkpoints"),
            pause_seconds=pause_seconds,
        )
        session.close("done")


def start_driver(url: str, trials: int, folder: Path, **options: object) -> ForkProcess:
    """Start `main` in a process of its own, forked, which saves the imports of a fresh one."""
    process = multiprocessing.get_context("fork").Process(
        target=main, args=(url, trials, folder), kwargs=options
    )
    process.start()
    return process


def acknowledged(folder: Path) -> dict[tuple[int, int], float]:
    """Give what drivers on `folder` were told is kept: accuracy by number and epoch."""
    path = folder / "acknowledged"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {(int(number), int(epoch)): float(value) for number, epoch, value in whole}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
