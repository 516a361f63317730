"""What is expected of configurations in final training, and what is handed over for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from search.planning.plan import ALLOTMENT, TRIAL_SECONDS
from search.planning.trial_time import Allotment
from search.results.export import export
from search.results.final_training import FinalTraining, final_training, search_seconds
from search.results.summary import summarize, summary_lines
from search.settings import make_settings
from search.trials.retry_chain import KNOWN_GOOD
from search.trials.study import open_study, optuna_study, start_launch
from spaces import SpaceContext, get_space
from storage import Database, Launch, StudyStore
from tests.search.loop import ENVIRONMENT, IDENTITY, STUDY
from tests.search.stored import complete_trial

ALLOTTED = Allotment(
    trial_seconds=100.0,
    epochs=1,
    train_images=50_000,
    validation_images=10_000,
    seconds_per_mac=1e-9,
    seconds_per_pass=0.0,
    seconds_per_image=0.0,
)


def config(passes: float) -> dict[str, JsonValue]:
    """A configuration whose only epoch passes so often over the images, as JSON values."""
    known = get_space("quick").configure("quick-2-16", SpaceContext(epochs=1))
    whole: dict[str, JsonValue] = known.model_dump(mode="json")
    return {**whole, "epoch_images": int(passes * 50_000)}


def length(passes: float) -> tuple[int, int]:
    """The epochs and images of `config`."""
    return 1, int(passes * 50_000)


def test_few_passes_gain_more_by_more_time_and_none_ever_loses() -> None:
    final = FinalTraining(seconds=500.0, times=5.0, train_images=50_000)
    few, many = (final.expected_accuracy(0.93, *length(passes)) for passes in (4, 20))
    assert few > many > 0.93
    assert 1 - few == pytest.approx(0.07 * (1 + 2.3 / 20) / (1 + 2.3 / 4))
    shorter = FinalTraining(seconds=10.0, times=0.1, train_images=50_000)
    assert shorter.expected_accuracy(0.93, *length(4)) == pytest.approx(0.93)


def by_time(database: Database, **settings: object) -> StudyStore:
    """A study of trials of 100 s, on many cores: what two were seen to do is counted on."""
    wanted = make_settings(space="quick", trials=9, study=STUDY, **settings)
    store = open_study(database, wanted, {**IDENTITY, TRIAL_SECONDS: 100.0})
    about = {
        **ENVIRONMENT,
        "cpus": 64,
        "device": "cpu",
        ALLOTMENT: ALLOTTED.model_dump(mode="json"),
    }
    launch = start_launch(store, wanted, about)
    store.launches.end(launch, "done")
    return store


def test_it_takes_as_long_as_is_said_else_as_the_search(database: Database) -> None:
    said = final_training(by_time(database, final_seconds=500.0, time_budget_seconds=9.0))
    assert said == FinalTraining(seconds=500.0, times=1.4 * 5, train_images=50_000)


def test_it_takes_as_long_as_the_search_did(database: Database) -> None:
    found = final_training(by_time(database))
    assert found is not None
    assert found.seconds == 1.0, "the least"


def test_what_the_search_leaves_of_a_total_time_is_for_final_training(database: Database) -> None:
    found = final_training(by_time(database, total_seconds=900.0))
    assert found is not None
    assert 890 < found.seconds <= 900, "all but the instant that this search took"


def test_a_search_of_several_launches_leaves_final_training_its_share(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = by_time(database, total_seconds=900.0)
    (launch,) = store.launches.all()
    long = launch.model_copy(update={"started_at": launch.started_at - timedelta(hours=2)})
    monkeypatch.setattr(store.launches, "all", lambda: [long])
    found = final_training(store)
    assert found is not None
    assert found.seconds == pytest.approx(600)


def test_drivers_side_by_side_and_pauses_between_them_are_no_time_of_the_search() -> None:
    """From 0 to 10, from 5 to 8 and from 6 to 12; later from 100 to 101, last heard of."""
    launches = [at_work(0, 10), at_work(5, 8), at_work(6, 12), at_work(100, None, heard=101)]
    assert search_seconds(launches) == 13.0
    until = [search_seconds(launches, datetime.fromtimestamp(at, UTC)) for at in (0, 7, 50, 100.5)]
    assert until == [0.0, 7.0, 12.0, 12.5]


def at_work(start: float, end: float | None, heard: float = 0.0) -> Launch:
    times = (
        datetime.fromtimestamp(at, UTC) if at is not None else None for at in (start, heard, end)
    )
    started_at, heartbeat_at, ended_at = times
    return Launch(
        id=1, settings={}, environment={}, host="h", pid=1, process_started=0.0, outcome=None,
        started_at=started_at, heartbeat_at=heartbeat_at, ended_at=ended_at,
    )  # fmt: skip


def test_a_study_of_equal_epochs_foresees_none(database: Database) -> None:
    store = open_study(database, make_settings(space="quick", trials=9, study=STUDY), IDENTITY)
    start_launch(store, make_settings(space="quick", trials=9, study=STUDY), ENVIRONMENT)
    assert final_training(store) is None
    assert "final_seconds" not in json.dumps(summarize(store).model_dump(mode="json"))


def test_what_is_best_in_final_training_is_handed_over(database: Database, tmp_path: Path) -> None:
    """A wide point after few passes, behind a small one and a sample that have seen many."""
    store = by_time(database, final_seconds=1000.0, time_budget_seconds=9.0)
    study = optuna_study(store)
    for accuracy, passes, point in ((0.937, 30, "small"), (0.936, 4, "wide"), (0.9371, 30, None)):
        trial = study.ask()
        if point:
            trial.set_user_attr(KNOWN_GOOD, point)
        launch = store.launches.all()[0].id
        complete_trial(store, trial, launch, config(passes), [accuracy])
    summary = summarize(store)
    assert summary.best.number == 2
    assert summary.recommended.trial.number == 1
    last = summary_lines(summary)[-1]
    assert "To train: trial 1; sample 2 (94.13 %)" in last
    assert "known-good point 1 (95.77 %)" in last
    assert "expected of 16 min 40 s of final training" in last
    export(store, tmp_path / "best.json")
    content = json.loads((tmp_path / "best.json").read_text())
    assert (content["trial"], content["final_seconds"]) == (1, 1000.0)
    assert content["validation_accuracy"] == 0.936, "what was seen, not what is expected"
