"""What stands between a runner and a session: no result of a worker can end a search."""

import time
from typing import Any

import pytest
from optuna.trial import TrialState

from search import link as module
from search.link import Control, Link
from search.messages import FAILURE, NOTE, RESUMED, Failure
from storage import Database
from tests.search.loop import STUDY, metrics, open_session

GOOD = {f"metrics/{name}": value for name, value in metrics(1, 0.8).model_dump().items()}
BOOM = Failure(kind="raised", reason="RuntimeError: boom\nTraceback ...")


def link_to(database: Database, limit: float = 60.0, **control: Any) -> Link:
    killed: list[Any] = []
    options = {"should_stop": lambda: False, "on_step": lambda: None, **control}
    link = Link(
        open_session(database, 3),
        Control(**options, epoch_limit=lambda started: limit),
        killed.append,
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
    assert reason in database.trial_record(STUDY, bad.number).reason
    assert state_of(link, bad.number) == TrialState.FAIL
    link.session.close("done")


def test_the_epochs_of_a_checkpoint_become_the_trials_own(database: Database) -> None:
    link = link_to(database)
    number = link.next_trial().number
    epochs = [metrics(epoch, 0.5).model_dump() for epoch in (1, 2)]
    assert link.result(number, {f"{RESUMED}/epochs": epochs})
    assert [row.epoch for row in database.epochs(STUDY, number)] == [1, 2]
    link.session.close("done")


def test_an_exception_in_the_session_stops_the_search_and_is_kept(database: Database) -> None:
    link = link_to(database)
    assert link.call(lambda: 1 // 0, "otherwise") == "otherwise"
    assert isinstance(link.error, ZeroDivisionError)
    assert link.turn({})
    link.session.close("failed")


def test_a_silent_worker_is_ended_and_what_it_said_last_is_dropped(database: Database) -> None:
    link, worker = link_to(database, limit=0.2), object()
    number = link.next_trial().number
    link.turn({number: worker})
    assert link.result(number, GOOD)
    time.sleep(0.15)
    link.turn({number: worker})  # an epoch ended meanwhile
    assert link.killed == []
    time.sleep(0.15)
    link.turn({number: worker})
    assert link.killed == [worker]
    assert "longer than 0 s (--trial-timeout)" in database.trial_record(STUDY, number).reason
    assert state_of(link, number) == TrialState.FAIL
    assert not link.result(number, GOOD)
    link.lost(number, "worker died")
    link.turn({})
    assert link.killed == [worker]
    link.session.close("done")


def test_waiting_for_a_worker_is_no_silence(database: Database) -> None:
    link = link_to(database, limit=0.1)
    number = link.next_trial().number
    for worker in (None, object(), object()):
        link.turn({number: worker})
        time.sleep(0.15)
    assert link.killed == []
    link.session.close("done")


def test_when_the_driver_was_held_up_nobody_else_was_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_TURN_SECONDS", 0.1)
    link, worker = link_to(database, limit=0.2), object()
    number = link.next_trial().number
    link.turn({number: worker})
    time.sleep(0.4)  # as long as a database is gone, say
    link.turn({number: worker})
    assert link.killed == []
    time.sleep(0.05)
    link.turn({number: worker})
    assert link.killed == []
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
