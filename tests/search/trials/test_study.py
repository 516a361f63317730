"""Opening a study: new, gone on with, refused; and putting right what the dead left behind."""

import os
import signal
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState

from search.errors import UsageError
from search.planning.plan import ALLOTMENT
from search.planning.trial_time import Allotment
from search.settings import make_settings
from search.trials.driver_leases import host_name, process_started, reap
from search.trials.study import (
    enqueue_points,
    known_identity,
    open_study,
    optuna_study,
    start_launch,
    study_allotment,
)
from spaces import SpaceContext, get_space
from storage import Database, LaunchStart, StorageRefused, StudyStore
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import EPOCHS, IDENTITY, STUDY, drive, open_session, search

SETTINGS = make_settings(space="quick", trials=4, study=STUDY)


def test_a_study_with_other_settings_is_refused_and_the_difference_shown(
    database: Database,
) -> None:
    search(database, 2)
    with pytest.raises(UsageError) as error:
        open_study(database, SETTINGS, {**IDENTITY, "space": "wrn", "epochs": 27})
    assert "space is 'quick' there and 'wrn' here" in str(error.value)
    assert "epochs is 9 there and 27 here" in str(error.value)
    assert "--study" in str(error.value)
    assert database.study_identity(STUDY) == IDENTITY


def test_a_plain_optuna_study_of_the_name_is_refused(database: Database) -> None:
    optuna.create_study(study_name=STUDY, storage=database.optuna_storage)
    with pytest.raises(UsageError, match="was not made by fmnist-search; choose another --study"):
        open_study(database, SETTINGS, IDENTITY)
    assert database.study_names() == []


def test_a_study_that_was_deleted_is_started_anew(database: Database) -> None:
    search(database, 3)
    optuna.delete_study(study_name=STUDY, storage=database.optuna_storage)
    with pytest.raises(StorageRefused, match="was deleted"):
        database.open_study(STUDY)
    session = open_session(database, 2, epochs=5)
    drive(session)
    session.close("done")
    check_study(database, STUDY, 2)
    assert database.study_identity(STUDY)["epochs"] == 5
    assert len(database.open_study(STUDY).launches.all()) == 1


def test_all_launches_keep_to_the_speed_that_the_first_measured(database: Database) -> None:
    store = open_study(database, SETTINGS, IDENTITY)
    assert study_allotment(store) is None
    of_first = Allotment(
        trial_seconds=60.0,
        epochs=9,
        train_images=2000,
        validation_images=400,
        seconds_per_mac=1e-9,
        seconds_per_pass=0.0,
        seconds_per_image=1e-5,
    )
    of_second = of_first.model_copy(update={"seconds_per_mac": 5e-9})
    start_launch(store, SETTINGS, {ALLOTMENT: {"of": "another version"}})
    for speed in (of_first, of_second):
        start_launch(store, SETTINGS, {ALLOTMENT: speed.model_dump(mode="json")})
    assert study_allotment(store) == of_first


def test_a_study_of_the_dead_is_not_gone_on_with(database: Database) -> None:
    assert known_identity(database, STUDY) is None
    open_study(database, SETTINGS, IDENTITY)
    assert known_identity(database, STUDY) == IDENTITY
    optuna.delete_study(study_name=STUDY, storage=database.optuna_storage)
    assert known_identity(database, STUDY) is None


def test_a_new_study_says_what_it_maximises(database: Database) -> None:
    study = optuna_study(open_study(database, SETTINGS, IDENTITY))
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.metric_names == ["validation accuracy"]


@pytest.mark.parametrize("sampler", ["curves", "tpe", "random", "qmc", "cmaes"])
def test_a_restarted_sampler_does_not_replay_its_parameters(
    database: Database, sampler: str
) -> None:
    for total in (4, 8):
        session = open_session(database, total, sampler=sampler)
        drive(session)
        session.close("done")
    trials = check_study(database, STUDY, 8)
    check_no_repeats(trials)
    drawn = [t.params["quick.warmup"] for t in trials[2:]]
    assert len(set(drawn)) == len(drawn)


def test_points_are_queued_once_and_only_where_affordable(database: Database) -> None:
    store, space = open_study(database, SETTINGS, IDENTITY), get_space("quick")
    narrow = SpaceContext(EPOCHS, affordable=lambda model: model.width < 32)
    assert enqueue_points(store, space, narrow) == (2, 1)
    assert enqueue_points(store, space, narrow) == (2, 1)
    assert enqueue_points(store, space, SpaceContext(EPOCHS)) == (2, 0)
    queued = [t.system_attrs["fixed_params"]["quick.width"] for t in store.trials()]
    assert queued == [8, 16, 32]


def test_a_living_drivers_trials_are_left_alone(database: Database) -> None:
    session = open_session(database, 4)
    drive(session, epochs=2)
    running = [live.number for live in session.view().running]
    assert running
    assert reap(session.store) == []
    session.close("done")
    assert reap(session.store) == []


def test_a_running_trial_of_nobody_is_given_up(database: Database) -> None:
    session = open_session(database, 4)
    asked = session.study.ask().number
    assert reap(session.store) == [asked]
    session.close("done")


def _launch(store: StudyStore, **changes: object) -> int:
    values = {
        "settings": {},
        "environment": {"validation_images": 10_000},
        "host": host_name(),
        "pid": os.getpid(),
        "process_started": process_started(os.getpid()),
    }
    return store.launches.start(LaunchStart(**{**values, **changes}))


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({}, False),
        ({"process_started": 1.0}, True),  # the process id was used again
        ({"pid": 2**22 + 1}, True),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),  # by its heartbeat, which is fresh
    ],
)
def test_who_is_dead(database: Database, changes: dict[str, object], dead: bool) -> None:
    store = open_study(database, SETTINGS, IDENTITY)
    launch = _launch(store, **changes)
    store.add_trial(optuna_study(store).ask().number, launch, {})
    assert reap(store) == ([0] if dead else [])


def test_a_killed_driver_that_nobody_collects_is_dead(database: Database) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_started(zombie.pid)
    store = open_study(database, SETTINGS, IDENTITY)
    launch = _launch(store, pid=zombie.pid, process_started=started)
    store.add_trial(optuna_study(store).ask().number, launch, {})
    assert reap(store) == []
    zombie.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert reap(store) == [0]
    zombie.communicate()


def test_a_driver_that_died_while_asking_loses_no_known_good_point(database: Database) -> None:
    store = open_study(database, SETTINGS, IDENTITY)
    study = optuna_study(store)
    point = dict(get_space("quick").points["quick-2-16"])
    study.enqueue_trial(point)
    asked = study.ask()
    asked.suggest_categorical("quick.batch_norm", [True, False])
    assert reap(store) == [asked.number]
    assert study.trials[0].state == TrialState.FAIL
    retry = study.trials[1]
    assert retry.system_attrs["fixed_params"] == point
    assert retry.user_attrs["retry_of"] == 0
    assert database.open_study(STUDY).trial_record(0).reason.startswith("the driver died")
