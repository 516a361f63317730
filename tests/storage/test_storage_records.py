"""What each back end must do with our tables: one contract for both."""

import math
from datetime import UTC, timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError, StatementError

from storage import (
    Database,
    DecisionRow,
    EpochRow,
    JsonObject,
    LaunchStart,
    StorageUnavailable,
    TrialRecord,
)

START = LaunchStart(
    study_name="wrn",
    settings={"trials": 200, "nested": {"list": [1, None, "ü"]}},
    environment={"python": "3.11"},
    host="node1",
    pid=4242,
    process_started=1_700_000_000.25,
)


def make_epoch(number: int = 0, epoch: int = 1, **changes: float) -> EpochRow:
    row = EpochRow(
        study_name="wrn",
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
        study_name="wrn",
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
    assert database.remember_study("wrn", identity) == identity
    assert database.remember_study("wrn", {"space": "other"}) == identity
    assert database.study_identity("wrn") == identity


def test_study_names_are_sorted(database: Database) -> None:
    for name in ("b", "a", "C", "ü" * 512):
        database.remember_study(name, {})
    assert database.study_names() == ["C", "a", "b", "ü" * 512]


def test_launch_lives_and_ends(database: Database) -> None:
    before = database.now()
    launch_id = database.start_launch(START)
    (started,) = database.launches("wrn")
    assert started.model_dump(include=set(LaunchStart.model_fields)) == START.model_dump()
    assert started.id == launch_id
    assert before - timedelta(seconds=1) <= started.started_at <= database.now()
    assert started.started_at.tzinfo == UTC
    assert (started.ended_at, started.outcome) == (None, None)

    database.heartbeat(launch_id)
    (beating,) = database.launches("wrn")
    assert beating.heartbeat_at > started.heartbeat_at
    assert beating.started_at == started.started_at

    database.end_launch(launch_id, "done")
    (ended,) = database.launches("wrn")
    assert ended.ended_at is not None and ended.ended_at > beating.heartbeat_at
    assert ended.outcome == "done"


def test_launches_are_those_of_the_study_in_order(database: Database) -> None:
    first = database.start_launch(START)
    database.start_launch(START.model_copy(update={"study_name": "cnn"}))
    second = database.start_launch(START)
    assert [launch.id for launch in database.launches("wrn")] == [first, second]


def test_unknown_launch_is_an_error(database: Database) -> None:
    with pytest.raises(StorageUnavailable, match="no launch 7"):
        database.heartbeat(7)
    with pytest.raises(StorageUnavailable, match="no launch 7"):
        database.end_launch(7, "done")


def test_trial_is_kept_and_replaced_but_for_its_reason(database: Database) -> None:
    assert database.trial_record("wrn", 3) is None
    database.add_trial("wrn", 3, 1, {"depth": 16})
    database.set_reason("wrn", 3, "out of memory")
    database.add_trial("wrn", 3, 2, {"depth": 10}, retry_of=1)
    expected = TrialRecord(
        study_name="wrn",
        number=3,
        launch_id=2,
        config={"depth": 10},
        retry_of=1,
        reason="out of memory",
    )
    assert database.trial_record("wrn", 3) == expected
    database.add_trial("wrn", 1, 1, {})
    database.add_trial("cnn", 2, 1, {})
    assert list(database.trial_records("wrn")) == [1, 3]
    assert database.trial_records("wrn")[3] == expected


def test_reason_of_a_trial_never_added(database: Database) -> None:
    database.set_reason("wrn", 0, "its driver died")
    record = database.trial_record("wrn", 0)
    assert record is not None
    assert (record.reason, record.launch_id, record.config) == ("its driver died", None, {})


def test_reason_may_be_any_text(database: Database) -> None:
    database.set_reason("wrn", 0, "NUL \0 and surrogate \udc80 and 'quotes'")
    record = database.trial_record("wrn", 0)
    assert record is not None and record.reason == "NUL ? and surrogate ? and 'quotes'"


def test_epoch_again_replaces(database: Database) -> None:
    database.add_epoch(make_epoch())
    database.add_epoch(make_epoch(val_accuracy=0.91, launch_id=2))
    assert database.epochs("wrn") == [make_epoch(val_accuracy=0.91, launch_id=2)]
    assert database.epoch_count("wrn") == 1


def test_epochs_come_by_trial_and_epoch(database: Database) -> None:
    rows = [make_epoch(0, 1), make_epoch(0, 2), make_epoch(0, 10), make_epoch(1, 1)]
    for row in reversed(rows):
        database.add_epoch(row)
    database.add_epoch(make_epoch().model_copy(update={"study_name": "cnn"}))
    assert database.epochs("wrn") == rows
    assert database.epochs("wrn", 1) == rows[3:]
    assert database.epochs("wrn", 2) == []
    assert database.epoch_count("wrn") == 4


def test_diverged_figures_survive(database: Database) -> None:
    database.add_epoch(make_epoch(train_loss=math.nan, val_loss=math.inf, lr=-math.inf))
    (row,) = database.epochs("wrn")
    assert math.isnan(row.train_loss)
    assert (row.val_loss, row.lr) == (math.inf, -math.inf)


def test_decision_again_replaces(database: Database) -> None:
    database.add_decision(make_decision(action="continue", rung=None, cutoff=None))
    database.add_decision(make_decision())
    database.add_decision(make_decision(epoch=0, action="continue", rung=None, cutoff=None))
    earlier, later = database.decisions("wrn")
    assert earlier.rung is None and earlier.cutoff is None
    assert later == make_decision(created_at=later.created_at)
    assert later.created_at is not None and later.created_at <= database.now()
    assert later.created_at.tzinfo == UTC


def test_epoch_and_decision_are_kept_together(database: Database) -> None:
    database.record_epoch(make_epoch(), make_decision())
    assert database.epochs("wrn") == [make_epoch()]
    assert [row.action for row in database.decisions("wrn")] == ["stop"]


def test_epoch_is_not_kept_when_its_decision_fails(database: Database) -> None:
    impossible = make_decision(reason=None)
    with pytest.raises(IntegrityError):
        database.record_epoch(make_epoch(), impossible)
    assert database.epochs("wrn") == []
    assert database.decisions("wrn") == []


def test_forgotten_study_leaves_the_others(database: Database) -> None:
    for name in ("wrn", "cnn"):
        change = {"study_name": name}
        database.remember_study(name, {})
        database.start_launch(START.model_copy(update=change))
        database.add_trial(name, 0, 1, {})
        database.record_epoch(
            make_epoch().model_copy(update=change), make_decision().model_copy(update=change)
        )
    database.forget_study("wrn")
    assert database.study_names() == ["cnn"]
    assert not database.launches("wrn") and len(database.launches("cnn")) == 1
    assert not database.trial_records("wrn") and len(database.trial_records("cnn")) == 1
    assert not database.epochs("wrn") and len(database.epochs("cnn")) == 1
    assert not database.decisions("wrn") and len(database.decisions("cnn")) == 1


def test_json_with_nan_is_refused_on_both(database: Database) -> None:
    # SQLAlchemy wraps what the SQLite side raises, psycopg passes it on.
    with pytest.raises((StatementError, ValueError), match="not JSON compliant"):
        database.add_trial("wrn", 0, 1, {"lr": math.nan})


def test_rows_know_no_other_keys_and_do_not_change() -> None:
    with pytest.raises(ValidationError, match="extra"):
        EpochRow.model_validate({**make_epoch().model_dump(), "colour": "red"})
    with pytest.raises(ValidationError, match="action"):
        DecisionRow.model_validate({**make_decision().model_dump(), "action": "perhaps"})
    with pytest.raises(ValidationError, match="frozen"):
        make_epoch().epoch = 2
