"""What is expected of configurations in final training, and what is handed over for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import log
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.files import read_export
from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.cost import model_cost
from fmnist_models.training.size_law import NetworkSize
from search.planning.plan import ALLOTMENT, NETWORK, TRIAL_SECONDS
from search.planning.trial_time import Allotment
from search.results.export import export
from search.results.final_training import (
    Expected,
    FinalTraining,
    Tried,
    final_training,
    search_seconds,
)
from search.results.larger_networks import TIMES_WIDER, wider_network
from search.results.law_check import DOUBT, exponent
from search.results.summary import summarize, summary_lines
from search.settings import make_settings
from search.trials.foresight import Foresight
from search.trials.retry_chain import KNOWN_GOOD
from search.trials.study import open_study, optuna_study, start_launch
from spaces import SpaceContext, get_space
from storage import Database, Launch, StudyStore
from tests.search.loop import ENVIRONMENT, IDENTITY, STUDY
from tests.search.made_up_curves import metrics
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


SECONDS_PER_MAC = ALLOTTED.seconds_per_mac
SMALL, WIDE = NetworkSize(macs=2e6, passes=0), NetworkSize(macs=8e6, passes=0)
"""Sizes of one network and of another of twice its width."""


def final_of(times: float) -> FinalTraining:
    return FinalTraining(
        seconds=times * 100.0,
        times=times,
        train_images=50_000,
        image_seconds=lambda size: SECONDS_PER_MAC * size.macs,
    )


def test_few_passes_gain_more_by_more_time_and_none_ever_loses() -> None:
    few, many = (final_of(5.0).expected(Tried(0.93, config(passes))) for passes in (4, 20))
    assert few.accuracy > many.accuracy > 0.93
    assert final_of(0.1).expected(Tried(0.93, config(4))) == Expected(0.93)


def test_a_large_network_gains_more_than_a_small_one() -> None:
    small, large = (
        final_of(1e4).accuracy(Tried(0.93, config(4), size))
        for size in (SMALL, NetworkSize(20e6, 0))
    )
    assert large > small


@pytest.mark.parametrize(("times", "wider"), [(1.0, 1.0), (100.0, 2.0), (1e4, 4.0)])
def test_a_network_is_as_wide_as_final_training_has_time_for(times: float, wider: float) -> None:
    """A trial of 100 s sees all images of 2 million operations once; the network is no larger."""
    tried = Tried(0.9, config(1), SMALL)
    found = final_of(times).expected(tried)
    assert found.wider == wider
    as_tried = final_of(times).expected(replace(tried, size=None))
    assert found.accuracy >= 0.9
    assert as_tried.wider == 1


def test_the_width_is_that_of_which_most_is_expected() -> None:
    tried = Tried(0.9, config(2), SMALL)
    final = final_of(60.0)
    found = final.expected(tried)
    expected = {times: final.accuracy(tried, times) for times in (1.0, *TIMES_WIDER)}
    assert found.accuracy == max(expected.values()) == expected[found.wider]
    assert 1 < found.wider < 4


def test_only_networks_that_the_law_is_of_are_made_wider() -> None:
    known = get_space("wrn").configure("wrn-16-1", SpaceContext(epochs=1))
    other = {**known.model_dump(mode="json"), "epoch_images": 50_000}
    assert final_of(300.0).expected(Tried(0.9, other, SMALL)).wider == 1


@pytest.mark.parametrize(("space", "point"), [("quick", "quick-2-16"), ("cnn", "kaggle")])
def test_a_wider_network_is_one_that_can_be_built(space: str, point: str) -> None:
    whole = get_space(space).configure(point, SpaceContext(epochs=1)).model_dump(mode="json")
    model = whole["model"]
    made = wider_network(model, 1.5)
    assert made is not None
    assert widths(made) == [1.5 * width for width in widths(model)]
    assert {**made, "width": 0, "layers": 0} == {**model, "width": 0, "layers": 0}
    size, larger = (model_cost(parse(each)) for each in (model, made))
    assert 1.5**2 > larger.macs / size.macs > 1.5


def widths(model: dict[str, Any]) -> list[int]:
    """Those of a network's convolutions."""
    layers = model.get("layers", [model.get("width")])
    return [layer for layer in layers if isinstance(layer, int)]


def parse(model: object) -> ModelConfig:
    known = get_space("quick").configure("quick-2-16", SpaceContext(epochs=1))
    return TrialConfig.model_validate({**known.model_dump(), "model": model}).model


def test_no_layer_becomes_wider_than_its_family_has_them() -> None:
    assert wider_network({"family": "quick", "width": 64}, 3) is None
    assert wider_network({"family": "cnn", "layers": [16, "P", 512]}, 3) is None


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
    assert said is not None
    assert (said.seconds, said.times) == (500.0, 1.4 * 5)
    assert said.train_images == 50_000
    assert said.image_seconds(NetworkSize(3e6, 9.0)) == pytest.approx(3e-3), "as was measured"


def test_how_fast_trials_trained_counts_for_more_than_what_was_measured_before(
    database: Database,
) -> None:
    store = by_time(database, final_seconds=500.0, time_budget_seconds=9.0)
    study, launch = optuna_study(store), store.launches.all()[0].id
    for factor in (1.0, 3.0, 20.0):
        trial = study.ask()
        speed = metrics(1, 0.9).images_per_second
        macs = factor / (SECONDS_PER_MAC * speed)
        trial.set_user_attr(NETWORK, {"macs": macs, "passes": 0})
        complete_trial(store, trial, launch, config(3), [0.9])
    found = final_training(store)
    assert found is not None
    assert found.times == pytest.approx(3 * 1.4 * 5), "the median"


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


NINE = {**config(0.4), "epochs": 9}
"""A configuration of nine epochs."""


def curves_of(store: StudyStore, *curves: list[float]) -> None:
    """COMPLETE trials of a study by time, each with the accuracies of its nine epochs."""
    study, launch = optuna_study(store), store.launches.all()[0].id
    for accuracies in curves:
        complete_trial(store, study.ask(), launch, NINE, accuracies)


def rising(early: float, end: float) -> list[float]:
    return [early] * 3 + [(early + end) / 2] * 5 + [end]


def test_what_the_law_says_is_believed_as_far_as_the_studys_own_curves_bear_it_out(
    database: Database,
) -> None:
    store = by_time(database)
    foresight = Foresight(store, 50_000)
    assert exponent(store, [], foresight) == 1.0
    curves_of(store, *[rising(0.6, 0.61)] * 8)
    flat = exponent(store, store.complete(), foresight)
    assert 0 < flat < 0.4, "as where many labels are wrong"
    left = foresight.left(0, 3)
    assert flat == pytest.approx(
        (DOUBT**2 + 8 * log(left) * log(0.39 / 0.4)) / (DOUBT**2 + 8 * log(left) ** 2)
    )
    assert exponent(store, store.complete()[:1], foresight) > flat, "one alone does not show it"
    curves_of(store, *[rising(0.6, 1 - 0.4 * left**2)] * 30)
    assert exponent(store, store.complete(), foresight) == 1.0


def test_where_curves_stay_flat_or_fall_nothing_is_foretold(database: Database) -> None:
    store = by_time(database, final_seconds=1e4, time_budget_seconds=9.0)
    curves_of(store, *[rising(0.6, 0.5)] * 8)
    curves_of(store, [1.0] * 9)  # without an error, of which nothing can be left
    assert exponent(store, store.complete(), Foresight(store, 50_000)) == 0.0
    recommended = summarize(store).recommended
    assert recommended is not None
    assert recommended.trial.validation_accuracy == 1.0


def test_errors_come_down_by_the_exponent() -> None:
    final = final_of(5.0)
    whole, half, none = (
        replace(final, exponent=power).expected(Tried(0.9, config(4))).accuracy
        for power in (1.0, 0.5, 0.0)
    )
    assert none == pytest.approx(0.9)
    assert (1 - half) ** 2 == pytest.approx((1 - whole) * 0.1)


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
    assert "To train: trial 1; sample 2 (94.58 %)" in last
    assert "known-good point 1 (95.43 %)" in last
    assert "expected of 16 min 40 s of final training" in last
    export(store, tmp_path / "best.json")
    content = json.loads((tmp_path / "best.json").read_text())
    assert (content["trial"], content["final_seconds"]) == (1, 1000.0)
    assert content["validation_accuracy"] == 0.936, "what was seen, not what is expected"


def test_a_wider_network_is_handed_over_and_said(database: Database, tmp_path: Path) -> None:
    """A trial of two passes of a network that final training has time to make wider."""
    store = by_time(database, final_seconds=1e5, time_budget_seconds=9.0)
    trial = optuna_study(store).ask()
    size = model_cost(parse(config(2)["model"]))
    trial.set_user_attr(NETWORK, {"macs": size.macs, "passes": size.passes})
    complete_trial(store, trial, store.launches.all()[0].id, config(2), [0.9])
    assert "its network 4 times as wide" in summary_lines(summarize(store))[-1]
    export(store, tmp_path / "best.json")
    found, seconds, origin = read_export(tmp_path / "best.json")
    assert (found.model.width, seconds) == (64, 1e5)
    assert str(origin).endswith("90.00 % validation accuracy with a network 4 times narrower")
