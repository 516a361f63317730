"""Several drivers search one study: one total, one rung table, and the living look after the dead.

Each driver is a process of its own.
"""

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from search.settings import make_settings
from search.trials.driver_leases import DIED, Watch, host_name
from search.trials.study import launch_sampler, open_study
from storage import Database, Launches, LaunchStart, open_database
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import (
    EPOCHS,
    IDENTITY,
    LIMITS,
    STUDY,
    acknowledged,
    drive,
    open_session,
    start_driver,
)

QUICK_LEASE = 2.4
"""Seconds: a heartbeat every fifth of a second."""

QUEUED_AGAIN = f"{DIED}; queued again"


def join(*drivers: ForkProcess) -> None:
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0] * len(drivers)


def check_shared(url: str, trials: int, drivers: int, folder: Path, scheduler: str) -> None:
    options = {"scheduler": scheduler, "company": drivers}
    join(*(start_driver(url, trials, folder, **options) for _ in range(drivers)))
    with open_database(url) as database:
        found = check_study(database, STUDY, trials, acknowledged=acknowledged(folder))
        check_no_repeats(found)
        assert len(found) == trials, "nothing failed, and nothing was begun beyond the total"
        launches = database.open_study(STUDY).launches.all()
        assert [launch.outcome for launch in launches] == ["done"] * drivers
        by = {record.launch_id for record in database.open_study(STUDY).trial_records()}
        assert by == {launch.id for launch in launches}


@pytest.mark.parametrize("scheduler", ["quota", "median"])  # asha is that of four drivers
def test_two_drivers_on_one_sqlite_file(url: str, tmp_path: Path, scheduler: str) -> None:
    check_shared(url, 16, 2, tmp_path / "search", scheduler)


def test_four_drivers_on_one_postgresql(postgresql_url: str, tmp_path: Path) -> None:
    check_shared(postgresql_url, 20, 4, tmp_path / "search", "asha")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheduler", ["asha", "quota", "hyperband", "median", "fifo"])
def test_eight_drivers(either_url: str, tmp_path: Path, scheduler: str) -> None:
    check_shared(either_url, 160, 8, tmp_path / "search", scheduler)


def test_two_launches_in_turns_never_go_beyond_the_total(database: Database) -> None:
    one, other = open_session(database, 3), open_session(database, 3)
    started = [session.next_trial() for session in (one, other, one)]
    assert all(started)
    assert [session.next_trial() for session in (one, other)] == [None, None]
    one.close("done")
    # Two were given up, queued again, and are the other's to take now.
    other._full_until = 0.0
    drive(other)
    other.close("done")
    assert len(check_study(database, STUDY)) >= 3


def test_the_rungs_of_both_are_the_same(database: Database) -> None:
    one, other = open_session(database, 20), open_session(database, 20)
    for turn in range(12):
        session = (one, other)[turn % 2]
        drive(session, at_once=1, epochs=3)
    for session in (one, other):
        session._recorder.rungs.refresh()
    assert one.scheduler.rungs == other.scheduler.rungs
    assert len(one.scheduler.rungs[1]) >= 6
    one.close("done")
    other.close("done")
    check_study(database, STUDY)


def test_no_two_launches_have_equal_seeds(database: Database) -> None:
    sessions = [open_session(database, 9, sampler="random") for _ in range(3)]
    drawn = {launch_sampler(s.store, s.launch_id, s.context)._rng.rng.random() for s in sessions}
    assert len(drawn) == 3
    for session in sessions:
        session.close("done")


def test_living_drivers_go_on_with_a_dead_ones_trials(either_url: str, tmp_path: Path) -> None:
    quick, folder = replace(LIMITS, lease_seconds=QUICK_LEASE), tmp_path / "search"
    drivers = [
        start_driver(either_url, 16, folder, limits=quick, pause_seconds=0.03) for _ in range(2)
    ]
    while len(acknowledged(folder)) < 12:
        time.sleep(0.01)
    drivers[0].kill()
    join(drivers[1])
    with open_database(either_url) as database:
        found = check_study(database, STUDY, 16, acknowledged=acknowledged(folder))
        check_no_repeats(found)
        assert sorted(str(n.outcome) for n in database.open_study(STUDY).launches.all()) == [
            "None",
            "done",
        ]
        reasons = [r.reason for r in database.open_study(STUDY).trial_records()]
    assert reasons.count(QUEUED_AGAIN) >= 1


def test_a_driver_stopped_beyond_its_lease_drops_its_results_and_lives(
    either_url: str, tmp_path: Path
) -> None:
    quick, folder = replace(LIMITS, lease_seconds=QUICK_LEASE), tmp_path / "search"
    options = {"limits": quick, "pause_seconds": 0.05}
    stopped = start_driver(either_url, 16, folder, stop_after=8, **options)
    while not is_stopped(stopped):
        time.sleep(0.01)
    other = start_driver(either_url, 16, folder, **options)
    try:
        with open_database(either_url, create=False) as database:
            while not [
                r for r in database.open_study(STUDY).trial_records() if r.reason == QUEUED_AGAIN
            ]:
                time.sleep(0.05)
    finally:
        os.kill(int(stopped.pid or 0), signal.SIGCONT)
    join(stopped, other)
    with open_database(either_url) as database:
        found = check_study(database, STUDY, 16, acknowledged=acknowledged(folder))
        check_no_repeats(found)
        store = database.open_study(STUDY)
        assert [launch.outcome for launch in store.launches.all()] == ["done", "done"]
        reasons = [r.reason for r in store.trial_records()]
    assert reasons.count(QUEUED_AGAIN) >= 2


def is_stopped(driver: ForkProcess) -> bool:
    return Path(f"/proc/{driver.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def launches(either_database: Database) -> Launches:
    """Give the launches of a new study on each back end in turn."""
    return made_up(either_database)


def made_up(database: Database) -> Launches:
    settings = make_settings(space="quick", trials=4, study=STUDY)
    return open_study(database, settings, IDENTITY).launches


def elsewhere(launches: Launches) -> int:
    """Start a launch on another machine, of which only heartbeats can be seen."""
    return launches.start(
        LaunchStart(settings={}, environment={}, host="elsewhere", pid=1, process_started=1.0)
    )


def assert_it_lives(watch: Watch, launch: int, since: float, seconds: float) -> None:
    """Look for some seconds as often as a driver does at one that was heard of after `since`.

    On a machine that stands still for longer than the lease it may be taken for dead.
    """
    while time.monotonic() < since + seconds:
        living = watch.living()
        assert living == {launch} or time.monotonic() > since + watch.lease_seconds
        time.sleep(watch.heartbeat_seconds)


def look_until_it_is_dead(watch: Watch) -> None:
    """Look as often as a driver does, until the lease of the only other one is over."""
    while watch.living():
        time.sleep(watch.heartbeat_seconds)


def test_a_driver_elsewhere_is_dead_after_its_lease(launches: Launches) -> None:
    watch, launch = Watch(launches, lease_seconds=1.2), elsewhere(launches)
    assert watch.living() == {launch}
    for _ in range(4):
        began = time.monotonic()
        launches.heartbeat(launch)
        assert_it_lives(watch, launch, began, 0.4)
    look_until_it_is_dead(watch)
    assert time.monotonic() - began >= 1.2
    launches.heartbeat(launch)
    assert watch.living() == {launch}
    launches.end(launch, "done")
    assert watch.living() == set()


def test_who_looked_away_judges_nobody(launches: Launches) -> None:
    watch, launch = Watch(launches, lease_seconds=0.6), elsewhere(launches)
    assert watch.living() == {launch}
    time.sleep(0.8)  # asleep, or without a database, as the other one may have been
    assert watch.living() == {launch}
    look_until_it_is_dead(watch)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_makes_nobody_dead(
    database: Database, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Wrong":
            return super().now(UTC) + timedelta(hours=hours)

    launches = made_up(database)
    watch, launch = Watch(launches, lease_seconds=1.2), elsewhere(launches)
    began = time.monotonic()
    assert watch.living() == {launch}
    monkeypatch.setattr("storage.connections.datetime", Wrong)  # SQLite's clock is the machine's
    assert_it_lives(watch, launch, began, 0.1)
    began = time.monotonic()
    launches.heartbeat(launch)
    assert_it_lives(watch, launch, began, 0.2)
    look_until_it_is_dead(watch)  # the dead are still found


def test_a_drivers_own_clock_has_no_say_on_postgresql(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Wrong":
            return super().now(UTC) + timedelta(hours=1)

    monkeypatch.setattr("storage.connections.datetime", Wrong)
    with open_database(postgresql_url) as database:
        launches = made_up(database)
        launch = elsewhere(launches)
        (kept,) = launches.all()
        assert abs(datetime.now(UTC) - kept.heartbeat_at) < timedelta(minutes=1)
        assert Watch(launches).living() == {launch}


def test_a_host_is_itself_until_it_starts_again() -> None:
    assert host_name() == host_name()
    assert os.uname().nodename in host_name()


def test_a_trial_whose_reservation_was_not_heard_of_is_given_up(database: Database) -> None:
    session = open_session(database, 3, limits=replace(LIMITS, lease_seconds=0.12))
    lost = session._slots.reserve()
    assert lost is not None
    time.sleep(0.05)
    session.heartbeat()
    assert database.open_study(STUDY).trial_record(lost.number).reason == QUEUED_AGAIN
    drive(session)
    session.close("done")
    check_study(database, STUDY, 3)


def test_polling_like_a_dashboard_disturbs_no_write(url: str, tmp_path: Path) -> None:
    check_polled(url, tmp_path, polls=12)


@pytest.mark.long
def test_polling_for_a_minute_disturbs_no_write(url: str, tmp_path: Path) -> None:
    check_polled(url, tmp_path, polls=300)


def check_polled(url: str, tmp_path: Path, polls: int) -> None:
    """Read all trials five times a second while a driver writes."""
    with open_database(url) as database:
        settings = make_settings(space="quick", trials=10**4, study=STUDY)
        store = open_study(database, settings, {**IDENTITY, "epochs": EPOCHS})
        folder = tmp_path / "search"
        # Without patience: one failed write ends it.
        driver = start_driver(url, 10**4, folder, limits=replace(LIMITS, outage_seconds=0.0))
        seen = 0
        while driver.is_alive() and (polls > 0 or seen <= 5):
            polls -= 1
            seen = len(database.optuna_storage.get_all_trials(store.study_id))
            database.optuna_storage.get_all_studies()
            time.sleep(0.2)
        assert driver.is_alive()
        os.kill(int(driver.pid or 0), signal.SIGKILL)
        driver.join()
