"""Drives a real SearchSession without Ray: trains nothing, reports made-up curves.

As a program it is a driver that can be killed:
    python -m tests.search.loop URL TRIALS FILE
appends to FILE a line "number epoch accuracy" for each epoch that was acknowledged.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import optuna

from fmnist_models.metrics import EpochMetrics
from search.schedulers import Decision, make_scheduler
from search.session import SearchSession
from search.settings import make_settings
from search.study import enqueue_points, open_study, reap, start_launch
from spaces import SpaceContext, get_space
from storage import Database, JsonObject, open_database

EPOCHS = 9
STUDY = "made-up"
ENVIRONMENT: JsonObject = {"validation_images": 10_000}
IDENTITY: JsonObject = {"space": "quick", "space_version": 1, "epochs": EPOCHS}

Told = Callable[[int, EpochMetrics, Decision | None], None]


def metrics(epoch: int, accuracy: float) -> EpochMetrics:
    """Give the figures of an epoch that ended with `accuracy`."""
    return EpochMetrics(
        epoch=epoch,
        train_loss=0.5,
        train_accuracy=accuracy,
        val_loss=0.5,
        val_accuracy=accuracy,
        lr=0.1,
        seconds=1.0,
        images_per_second=1000.0,
        peak_memory_bytes=1,
    )


def curve(number: int, epoch: int) -> float:
    """Give a rising accuracy that depends on trial and epoch alone."""
    draw = random.Random(number)
    end, speed = draw.uniform(0.5, 0.95), draw.uniform(0.2, 1.0)
    return round(end * (1 - (1 - speed) ** epoch * 0.5), 4)


def open_session(
    database: Database,
    trials: int,
    scheduler: str = "asha",
    sampler: str = "tpe",
    epochs: int = EPOCHS,
    study: str = STUDY,
) -> SearchSession:
    """Open a study and start a launch on it, in the order of search/launch.py."""
    settings = make_settings(
        space="quick", trials=trials, study=study, sampler=sampler, scheduler=scheduler
    )
    opened = open_study(database, settings, {**IDENTITY, "epochs": epochs})
    reap(database, opened)
    space, context = get_space("quick"), SpaceContext(epochs)
    enqueue_points(opened, space, context)
    rules = make_scheduler(scheduler, grace_period=1, reduction_factor=3, epochs=epochs)
    launch = start_launch(database, settings, ENVIRONMENT)
    return SearchSession(opened, database, launch, space, context, rules, trials)


def drive(
    session: SearchSession,
    *,
    at_once: int = 2,
    epochs: int = 10**9,
    told: Told = lambda number, reported, decision: None,
) -> None:
    """Run trials, `at_once` of them in turns, until the session ends or `epochs` were trained."""
    live: dict[int, int] = {}
    while not session.is_done and session.epochs_trained < epochs:
        while len(live) < at_once and (started := session.next_trial()) is not None:
            live[started.number] = 0
        for number in list(live):
            live[number] += 1
            reported = metrics(live[number], curve(number, live[number]))
            decision = session.report(number, reported)
            told(number, reported, decision)
            if decision is None or decision.action == "stop":
                del live[number]


def search(database: Database, trials: int, scheduler: str = "asha") -> SearchSession:
    """Run a whole launch to its end."""
    session = open_session(database, trials, scheduler)
    drive(session)
    session.close("done")
    return session


def main(url: str, trials: int, path: Path) -> None:
    """Run one launch that writes down what was acknowledged."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_database(url) as database, path.open("a", buffering=1) as file:
        session = open_session(database, trials)
        drive(
            session,
            told=lambda number, reported, decision: print(
                number, reported.epoch, reported.val_accuracy, file=file, flush=True
            ),
        )
        session.close("done")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
