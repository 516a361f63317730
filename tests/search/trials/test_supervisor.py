"""What stands between a runner and a session: no result of a worker can end a search."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

from fmnist_models.training.cost import CostModel
from search.planning.gpu_sharing import Needs
from search.trials.supervisor import Control, Link
from search.workers.messages import FAILURE, NOTE, RESUMED, Failure
from storage import Database
from tests.search.loop import STUDY, metrics, open_session

GOOD = {f"metrics/{name}": value for name, value in metrics(1, 0.8).model_dump().items()}
BOOM = Failure(kind="raised", reason="RuntimeError: boom\nTraceback ...")


def link_to(
    database: Database,
    limit: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    **control: Any,
) -> Link:
    killed: list[Any] = []
    options = {"should_stop": lambda: False, "on_step": lambda: None, **control}
    link = Link(
        open_session(database, 3),
        Control(**options, epoch_limit=lambda started: limit),
        killed.append,
        clock,
    )
    link.killed = killed  # type: ignore[attr-defined]
    return link


def state_of(link: Link, number: int) -> TrialState:
    return link.session.study.get_trials()[number].state


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({}, "impossible metrics"),
        ({**GOOD, "metrics/val_accuracy": 7.0}, "impossible metrics"),
        ({**GOOD, "metrics/val_accuracy": float("nan")}, "impossible metrics"),
        ({**GOOD, "metrics/val_accuracy": float("inf")}, "impossible metrics"),
        ({**GOOD, "metrics/val_accuracy": "high"}, "impossible metrics"),
        ({**GOOD, "metrics/val_accuracy": True}, "impossible metrics"),
        ({**GOOD, "metrics/val_accuracy": None}, "no validation accuracy"),
        ({f"{FAILURE}/{k}": v for k, v in BOOM.model_dump().items()}, "boom"),
        ({f"{FAILURE}/kind": "fire", f"{FAILURE}/reason": "x"}, "impossible metrics"),
        ({f"{RESUMED}/epochs": []}, "impossible metrics"),
        ({f"{RESUMED}/epochs": "all"}, "impossible metrics"),
        ({f"{RESUMED}/more": 1}, "impossible metrics"),
    ],
)
def test_a_bad_result_fails_its_trial_alone(
    database: Database, result: dict[str, Any], reason: str
) -> None:
    link = link_to(database)
    bad, good = link.next_trial(), link.next_trial()
    assert not link.call(lambda: link.result(bad.number, result), True)
    assert link.call(lambda: link.result(good.number, GOOD), False)
    assert link.error is None
    assert reason in database.open_study(STUDY).trial_record(bad.number).reason
    assert state_of(link, bad.number) == TrialState.FAIL
    link.session.close("done")


def test_the_epochs_of_a_checkpoint_become_the_trials_own(database: Database) -> None:
    link = link_to(database)
    number = link.next_trial().number
    epochs = [metrics(epoch, 0.5).model_dump() for epoch in (1, 2)]
    assert link.result(number, {f"{RESUMED}/epochs": epochs})
    assert [row.epoch for row in database.open_study(STUDY).epochs(number)] == [1, 2]
    link.session.close("done")


def test_what_an_epoch_took_is_told_to_the_needs_of_trials_to_come(database: Database) -> None:
    needs = Needs(CostModel(1e-9, 0.0, 1e-6, 6.0), "cuda")
    link = link_to(database, needs=needs)
    started = link.next_trial()
    before = needs.memory_bytes(started.config)
    assert link.result(started.number, {**GOOD, "metrics/peak_memory_bytes": int(3 * before)})
    assert needs.memory_bytes(started.config) > 3 * before
    link.session.close("done")


def test_an_exception_in_the_session_stops_the_search_and_is_kept(database: Database) -> None:
    link = link_to(database)
    assert link.call(lambda: 1 // 0, "otherwise") == "otherwise"
    assert isinstance(link.error, ZeroDivisionError)
    assert link.turn({})
    link.session.close("failed")


class Clock:
    """A clock that goes as it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_worker_is_ended_and_what_it_said_last_is_dropped(database: Database) -> None:
    clock, worker = Clock(), object()
    link = link_to(database, limit=4.0, clock=clock)
    number = link.next_trial().number
    link.turn({number: worker})
    clock.now += 3
    link.turn({number: worker})
    assert link.result(number, GOOD)
    clock.now += 3
    link.turn({number: worker})  # an epoch ended meanwhile
    assert link.killed == []
    clock.now += 2
    link.turn({number: worker})
    assert link.killed == [worker]
    assert (
        "longer than 4 s (--trial-timeout)"
        in database.open_study(STUDY).trial_record(number).reason
    )
    assert state_of(link, number) == TrialState.FAIL
    assert not link.result(number, GOOD)
    link.lost(number, "worker died")
    clock.now += 9
    link.turn({number: worker})
    assert link.killed == [worker]
    link.session.close("done")


def test_waiting_for_a_worker_is_no_silence(database: Database) -> None:
    clock = Clock()
    link = link_to(database, limit=2.0, clock=clock)
    number = link.next_trial().number
    for worker in (None, object(), object()):
        link.turn({number: worker})
        clock.now += 3
    assert link.killed == []
    link.session.close("done")


def test_when_the_driver_was_held_up_nobody_else_was_silent(database: Database) -> None:
    clock, worker = Clock(), object()
    link = link_to(database, limit=8.0, clock=clock)
    number = link.next_trial().number
    link.turn({number: worker})
    for pause in (100, 4, 4):  # at first as long as a database is gone, say
        clock.now += pause
        link.turn({number: worker})
        assert link.killed == []
    clock.now += 1
    link.turn({number: worker})
    assert link.killed == [worker]
    link.session.close("done")


def test_at_the_end_all_workers_are_ended(database: Database) -> None:
    link, worker = link_to(database), object()
    number, _ = link.next_trial().number, link.next_trial()
    link.turn({number: worker})
    link.kill_all()
    assert link.killed == [worker]
    link.session.close("done")


def test_all_trials_of_a_broken_runner_are_lost_one_by_one(database: Database) -> None:
    link = link_to(database)
    numbers = [link.next_trial().number for _ in range(2)]
    link.lose_all("Ray Tune broke down")
    assert [state_of(link, number) for number in numbers] == [TrialState.FAIL] * 2
    assert link.error is None
    link.session.close("done")


def test_notes_of_a_worker_are_passed_on(database: Database) -> None:
    told: list[tuple[int, str]] = []
    link = link_to(database, note=lambda number, text: told.append((number, text)))
    number = link.next_trial().number
    link.result(number, {**GOOD, NOTE: "it goes on without a checkpoint"})
    assert told == [(number, "it goes on without a checkpoint")]
    link.session.close("done")
