"""Whether another trial is worth the time that it takes from final training."""

from __future__ import annotations

from datetime import timedelta
from math import exp

import pytest

from fmnist_models.training.size_law import NetworkSize
from search.results.final_training import Tried
from search.results.outlook import expected_gain, loss_of_time, why_enough
from search.trials.enough import Enough, Verdict
from search.trials.retry_chain import KNOWN_GOOD
from search.trials.study import optuna_study
from search.workers.messages import Failure
from storage import Database, DecisionRow, StudyStore
from tests.search.loop import EPOCHS, drive, open_session
from tests.search.made_up_curves import metrics
from tests.search.results.test_final_training import by_time, config, final_of
from tests.search.stored import complete_trial

NEAR = [0.926, 0.925, 0.924, 0.92, 0.91, 0.9, 0.88, 0.85]
"""Samples of which the better half lies close together."""

FAR = [0.93, 0.9, 0.87, 0.8, 0.7, 0.6, 0.5, 0.4]
"""Others, of which the best is far ahead."""


def test_one_more_sample_is_best_as_often_as_others_and_leads_as_the_best_leads_its_half() -> None:
    errors = [0.08, 0.08 * exp(0.1), 0.08 * exp(0.3), 0.5, 0.6, 0.7]
    samples = [1 - error for error in errors]
    k, mean = 2, 0.2
    assert expected_gain(samples, samples[0]) == pytest.approx(k / (k - 1) * mean / 7)
    ahead = 1 - 0.08 * exp(-0.4)
    assert expected_gain(samples, ahead) == pytest.approx(2 * mean / (1 + 0.4 / (k * mean)) / 7)
    many = [1 - 0.08 * exp(0.2 * i / 500) for i in range(1001)]
    of_many = expected_gain(many, 1 - 0.08 * exp(-0.4))
    assert of_many == pytest.approx(0.1 * exp(-0.4 / 0.1) / 1002, rel=0.1), "nearly exponential"
    assert expected_gain(samples, 0.5) == expected_gain(samples, samples[0])
    assert expected_gain([0.9] * 6, 0.9) == 0.0
    assert expected_gain([1.0] * 6, 1.0) == 0.0


def test_time_is_worth_more_the_less_of_it_is_left() -> None:
    tried = Tried(0.92, config(3), NetworkSize(5.5e6, 0))
    final = final_of(10.0)
    much, little = (loss_of_time(final, tried, left, 50.0) for left in (5000.0, 500.0))
    assert 0 < much < little
    assert little < loss_of_time(final, tried, 500.0, 400.0) < 10


def searched(
    database: Database, point: float, samples: list[float], minutes: float, **settings: object
) -> StudyStore:
    """A study by time of a point and samples, after so many minutes of search."""
    store = by_time(database, **settings)
    study, (launch,) = optuna_study(store), store.launches.all()
    for number, accuracy in enumerate([point, *samples]):
        trial = study.ask()
        if number == 0:
            trial.set_user_attr(KNOWN_GOOD, "point")
        complete_trial(store, trial, launch.id, config(3), [accuracy])
    begun = launch.started_at - timedelta(minutes=minutes)
    store.launches.all = lambda: [launch.model_copy(update={"started_at": begun})]
    return store


def test_samples_that_come_near_a_point_and_do_not_beat_it_end_the_search(
    database: Database,
) -> None:
    store = searched(database, 0.94, NEAR, minutes=8, total_seconds=1800.0)
    verdict = why_enough(store, remaining=120.0)
    assert verdict is not None
    assert verdict.reason.startswith("no more trials: another is expected to take 0.0")
    assert not verdict.all_end


@pytest.mark.parametrize(
    ("point", "samples", "settings"),
    [
        (0.8, FAR, {"total_seconds": 18000.0}),  # worth it
        (0.94, NEAR[:7], {"total_seconds": 1800.0}),  # too few
        (0.94, NEAR, {"time_budget_seconds": 1800.0}),  # costs final training nothing
    ],
)
def test_otherwise_it_goes_on(
    database: Database, point: float, samples: list[float], settings: dict[str, object]
) -> None:
    assert why_enough(searched(database, point, samples, minutes=8, **settings), 120.0) is None


def test_trials_that_were_stopped_count_by_what_they_were_expected_to_end_at(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = searched(database, 0.94, NEAR[:7], minutes=8, total_seconds=1800.0)
    assert why_enough(store, remaining=120.0) is None
    (launch,) = store.launches.all()
    row = {"launch_id": launch.id, "epoch": 1, "rung": 1, "cutoff": 0.99, "reason": "r"}
    stops = [
        DecisionRow.model_validate({**row, "action": "stop", "number": 100 + i, "value": value})
        for i, value in enumerate(NEAR[7:])
    ]
    monkeypatch.setattr(store, "decisions", lambda: stops)
    assert why_enough(store, remaining=120.0) is not None


@pytest.mark.parametrize("total", [{"total_seconds": 18000.0}, {"time_budget_seconds": 1800.0}])
def test_of_a_total_time_nothing_is_spent_on_a_trial_that_cannot_end(
    database: Database, total: dict[str, float]
) -> None:
    store = searched(database, 0.8, FAR, minutes=8, **total)
    took = [sum(row.seconds for row in store.epochs(number)) for number, _ in store.complete()]
    assert why_enough(store, remaining=1.01 * min(took)) is None
    verdict = why_enough(store, remaining=0.99 * min(took))
    if "total_seconds" in total:
        assert verdict is not None
        assert verdict.all_end
        assert "under" in verdict.reason
    else:
        assert verdict is None, "the same command goes on with it"


def test_those_that_run_when_no_other_could_end_come_to_their_end(database: Database) -> None:
    session = open_session(database, 30, scheduler="fifo")
    verdict: list[Verdict | None] = [None]
    session.enough = Enough(lambda: verdict[0], lambda _: None)
    drive(session, at_once=2, epochs=18)  # the two points, to their end
    fresh, failing = session.next_trial(), session.next_trial()
    assert fresh and failing
    verdict[0] = Verdict("no time", all_end=True)
    session.fail(failing.number, Failure(kind="diverged", reason="the loss is nan"))
    assert session.next_trial() is None
    assert not session.is_done
    for epoch in range(1, EPOCHS + 1):
        assert not session.is_done
        session.report(fresh.number, metrics(epoch, 0.5))
    assert session.is_done


def test_a_session_that_has_enough_begins_no_trial_and_waits_for_what_is_nearly_done(
    database: Database,
) -> None:
    said: list[str] = []
    session = open_session(database, 30, scheduler="fifo")
    enough = [False]
    verdict = Verdict("enough", all_end=False)
    session.enough = Enough(lambda: verdict if enough[0] else None, said.append)
    drive(session, at_once=2, epochs=18)  # the two points, to their end
    early, late, third = (session.next_trial() for _ in range(3))
    assert early and late and third
    for epoch in range(1, EPOCHS):
        session.report(late.number, metrics(epoch, 0.5))
    session.report(early.number, metrics(1, 0.5))
    enough[0] = True
    session.fail(third.number, Failure(kind="diverged", reason="the loss is nan"))
    assert session.enough.verdict
    assert said[-1] == "enough"
    assert session.next_trial() is None
    assert not session.is_done, "one is nearly done"
    session.report(late.number, metrics(EPOCHS, 0.5))
    assert session.is_done
    assert said.count("enough") == 1
    session.close("enough tried")
    states = [trial.state.name for trial in session.study.get_trials()]
    assert states[:4] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert states[-1] == "WAITING", "what was begun is queued again"
