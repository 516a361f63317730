"""What stands between Ray's loop and a session: no result of a worker can end a search."""

from typing import Any

import pytest
from optuna.trial import TrialState

from search.messages import FAILURE
from search.ray_runner import Control, _Link
from storage import Database
from tests.search.loop import STUDY, metrics, open_session

GOOD = {f"metrics/{name}": value for name, value in metrics(1, 0.8).model_dump().items()}


def link_to(database: Database) -> _Link:
    control = Control(should_stop=lambda: False, on_step=lambda: None)
    return _Link(open_session(database, 3), control)


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
        ({FAILURE: "RuntimeError: boom\nTraceback ..."}, "boom"),
    ],
)
def test_a_bad_result_fails_its_trial_alone(
    database: Database, result: dict[str, Any], reason: str
) -> None:
    link = link_to(database)
    bad, good = link.session.next_trial(), link.session.next_trial()
    assert not link.call(lambda: link.result(bad.number, result), True)
    assert link.call(lambda: link.result(good.number, GOOD), False)
    assert link.error is None
    assert reason in database.trial_record(STUDY, bad.number).reason
    assert link.session.study.get_trials()[bad.number].state == TrialState.FAIL
    link.session.close("done")


def test_an_exception_in_the_session_stops_the_search_and_is_kept(database: Database) -> None:
    link = link_to(database)
    assert link.call(lambda: 1 // 0, "otherwise") == "otherwise"
    assert isinstance(link.error, ZeroDivisionError)
    assert link.should_stop()
    link.session.close("failed")
