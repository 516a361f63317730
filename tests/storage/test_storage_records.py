"""What each back end must do with our tables: one contract for both."""

import math
from datetime import UTC, timedelta

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError, StatementError

from storage import (
    Database,
    DecisionRow,
    EpochRow,
    JsonObject,
    LaunchStart,
    StorageRefused,
    StorageUnavailable,
    StudyStore,
    TrialRecord,
    trial_id_of,
)
from tests.storage.conftest import new_study

START = LaunchStart(
    settings={"trials": 200, "nested": {"list": [1, None, "ü"]}},
    environment={"python": "3.11"},
    host="node1",
    pid=4242,
    process_started=1_700_000_000.25,
)


def make_epoch(number: int = 0, epoch: int = 1, **changes: float) -> EpochRow:
    row = EpochRow(
        number=number,
        launch_id=1,
        epoch=epoch,
        train_loss=0.5,
        train_accuracy=0.8,
        val_loss=0.4,
        val_accuracy=0.9,
        lr=0.1,
        seconds=12.5,
        images_per_second=4000.0,
        peak_memory_bytes=5_000_000_000,
    )
    return row.model_copy(update=changes)


def make_decision(number: int = 0, epoch: int = 1, **changes: object) -> DecisionRow:
    row = DecisionRow(
        number=number,
        launch_id=1,
        epoch=epoch,
        action="stop",
        rung=1,
        value=0.9,
        cutoff=0.95,
        reason="under the cut-off",
    )
    return row.model_copy(update=changes)


def test_study_keeps_its_first_identity(database: Database) -> None:
    assert database.study_identity("wrn") is None
    identity: JsonObject = {"space": "wrn", "epochs": 9, "nested": {"a": [1.5, None, True]}}
    for later in (identity, {"space": "other"}):
        database.remember_study("wrn", later)
        assert database.study_identity("wrn") == identity


def test_only_studies_of_a_search_are_opened(database: Database) -> None:
    store = new_study(database, "wrn")
    assert (store.name, store.identity) == ("wrn", {"space": "wrn"})
    assert store.trials() == []
    with pytest.raises(StorageRefused, match=r"no study 'cnn' in .*; there: wrn"):
        database.open_study("cnn")
    optuna.create_study(study_name="plain", storage=database.optuna_storage)
    with pytest.raises(StorageRefused, match="no study 'plain'"):
        database.open_study("plain")
    optuna.delete_study(study_name="wrn", storage=database.optuna_storage)
    with pytest.raises(StorageRefused, match=r"study 'wrn' in .* was deleted"):
        database.open_study("wrn")


def test_study_names_are_sorted(database: Database) -> None:
    for name in ("b", "a", "C", "ü" * 512):
        database.remember_study(name, {})
    assert database.study_names() == ["C", "a", "b", "ü" * 512]


def test_launch_lives_and_ends(store: StudyStore) -> None:
    launches = store.launches
    before = launches.now()
    launch_id = launches.start(START)
    (started,) = launches.all()
    assert started.model_dump(include=set(LaunchStart.model_fields)) == START.model_dump()
    assert started.id == launch_id
    assert before - timedelta(seconds=1) <= started.started_at <= launches.now()
    assert started.started_at.tzinfo == UTC
    assert (started.ended_at, started.outcome) == (None, None)

    launches.heartbeat(launch_id)
    (beating,) = launches.all()
    assert beating.heartbeat_at > started.heartbeat_at
    assert beating.started_at == started.started_at

    assert launches.open() == [beating]
    launches.end(launch_id, "done")
    (ended,) = launches.all()
    assert ended.ended_at is not None and ended.ended_at > beating.heartbeat_at
    assert ended.outcome == "done"
    assert launches.open() == []


def test_launches_are_those_of_the_study_in_order(database: Database, store: StudyStore) -> None:
    first = store.launches.start(START)
    new_study(database, "cnn").launches.start(START)
    second = store.launches.start(START)
    assert [launch.id for launch in store.launches.all()] == [first, second]


def test_unknown_launch_is_an_error(store: StudyStore) -> None:
    with pytest.raises(StorageUnavailable, match="no launch 7"):
        store.launches.heartbeat(7)
    with pytest.raises(StorageUnavailable, match="no launch 7"):
        store.launches.end(7, "done")


def test_trial_is_kept_and_replaced_but_for_its_reason(store: StudyStore) -> None:
    assert store.trial_record(3) is None
    store.add_trial(3, 1, {"depth": 16})
    store.set_reason(3, "out of memory")
    store.add_trial(3, 2, {"depth": 10}, retry_of=1)
    expected = TrialRecord(
        number=3, launch_id=2, config={"depth": 10}, retry_of=1, reason="out of memory"
    )
    assert store.trial_record(3) == expected
    store.add_trial(1, 1, {})
    assert store.trial_record(3) == expected
    assert store.retries() == {3: 1}


def test_reason_of_a_trial_never_added(store: StudyStore) -> None:
    store.set_reason(0, "its driver died")
    record = store.trial_record(0)
    assert record is not None
    assert (record.reason, record.launch_id, record.config) == ("its driver died", None, {})


def test_reason_may_be_any_text(store: StudyStore) -> None:
    store.set_reason(0, "NUL \0 and surrogate \udc80 and 'quotes'")
    record = store.trial_record(0)
    assert record is not None and record.reason == "NUL ? and surrogate ? and 'quotes'"


def record(store: StudyStore, *rows: EpochRow, decision: DecisionRow | None = None) -> None:
    """Keep epochs, and a decision, of the trials 0 to 2, which are made where they are missing."""
    while len(store.trials()) < 3:
        optuna.load_study(study_name=store.name, storage=store.optuna_storage).ask()
    with store.transaction():
        for row in rows:
            trial_id = trial_id_of(store.trials()[row.number])
            store.record_epochs(trial_id, [row], decision)


def test_epoch_again_replaces(store: StudyStore) -> None:
    record(store, make_epoch())
    record(store, make_epoch(val_accuracy=0.91, launch_id=2))
    assert store.epochs() == [make_epoch(val_accuracy=0.91, launch_id=2)]
    assert store.trials()[0].intermediate_values == {1: 0.91}
    assert store.epoch_count() == 1


def test_epochs_come_by_trial_and_epoch(database: Database, store: StudyStore) -> None:
    rows = [make_epoch(0, 1), make_epoch(0, 2), make_epoch(0, 10), make_epoch(1, 1)]
    record(store, *reversed(rows))
    record(new_study(database, "cnn"), make_epoch())
    assert store.epochs() == rows
    assert store.epochs(1) == rows[3:]
    assert store.epochs(2) == []
    assert store.epoch_count() == 4


def test_an_epoch_that_was_taken_over_counts_once(store: StudyStore) -> None:
    store.add_trial(1, 1, {}, retry_of=0)
    record(store, make_epoch(0, 1), make_epoch(0, 2), make_epoch(1, 1), make_epoch(1, 2, seconds=9))
    assert store.epoch_count() == 3


def test_diverged_figures_survive(store: StudyStore) -> None:
    record(store, make_epoch(train_loss=math.nan, val_loss=math.inf, lr=-math.inf))
    (row,) = store.epochs()
    assert math.isnan(row.train_loss)
    assert (row.val_loss, row.lr) == (math.inf, -math.inf)


def test_decision_again_replaces(store: StudyStore) -> None:
    assert store.decision(0, 1) is None
    open_end = make_decision(action="continue", rung=None, cutoff=None)
    record(store, make_epoch(), decision=open_end)
    kept = store.decision(0, 1)
    assert kept is not None and (kept.rung, kept.cutoff) == (None, None)
    record(store, make_epoch(), decision=make_decision())
    later = store.decision(0, 1)
    assert later is not None and later.created_at is not None
    assert later == make_decision(created_at=later.created_at)
    assert later.created_at <= store.launches.now()
    assert later.created_at.tzinfo == UTC


def test_epoch_is_not_kept_when_its_decision_fails(store: StudyStore) -> None:
    with pytest.raises(IntegrityError):
        record(store, make_epoch(), decision=make_decision(reason=None))
    assert store.epochs() == []
    assert store.decision(0, 1) is None
    assert store.trials()[0].intermediate_values == {}


def test_forgotten_study_leaves_the_others(database: Database) -> None:
    stores = [new_study(database, name) for name in ("wrn", "cnn")]
    for store in stores:
        store.launches.start(START)
        store.add_trial(0, 1, {})
        record(store, make_epoch(), decision=make_decision())
    database.forget_study("wrn")
    assert database.study_names() == ["cnn"]
    for store, kept in zip(stores, (False, True), strict=True):
        assert bool(store.launches.all()) == kept
        assert (store.trial_record(0) is not None) == kept
        assert bool(store.epochs()) == kept
        assert (store.decision(0, 1) is not None) == kept


def test_json_with_nan_is_refused_on_both(store: StudyStore) -> None:
    # SQLAlchemy wraps what the SQLite side raises, psycopg passes it on.
    with pytest.raises((StatementError, ValueError), match="not JSON compliant"):
        store.add_trial(0, 1, {"lr": math.nan})


def test_rows_know_no_other_keys_and_do_not_change() -> None:
    with pytest.raises(ValidationError, match="extra"):
        EpochRow.model_validate({**make_epoch().model_dump(), "colour": "red"})
    with pytest.raises(ValidationError, match="action"):
        DecisionRow.model_validate({**make_decision().model_dump(), "action": "perhaps"})
    with pytest.raises(ValidationError, match="frozen"):
        make_epoch().epoch = 2


def test_a_trial_that_was_ended_meanwhile_is_not_configured(store: StudyStore) -> None:
    study = optuna.load_study(study_name=store.name, storage=store.optuna_storage)
    for launch in (1, 2):  # the second time the study knows the parameter
        trial = study.ask()
        store.add_trial(trial.number, launch, {})
        with store.parameters_held_back() as parameters:
            trial.suggest_float("x", 0, 1)
        if launch == 1:
            store.configure(trial, launch, {"x": 1}, parameters)
    with store.transaction():
        store.fail_trial(store.trial(trial_id_of(trial)), "its lease is over")
    with pytest.raises(UpdateFinishedTrialError):
        store.configure(trial, 2, {"x": 2}, parameters)
    assert store.trial(trial_id_of(trial)).params == {}
    record = store.trial_record(trial.number)
    assert (record.config, record.reason) == ({}, "its lease is over")
