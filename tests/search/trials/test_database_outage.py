"""A database that is away: waited for, and nothing kept twice or lost; or given up in one line."""

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from search.signals import StopRequest
from search.time_budget import Budget
from storage import Database, StorageUnavailable, open_database
from tests.postgresql import Server, new_database, new_postgresql_server
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import (
    LIMITS,
    STUDY,
    Listener,
    acknowledged,
    drive,
    open_session,
    search,
    start_driver,
)

TRIALS = 14


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Give a PostgreSQL server for this module alone, to be maltreated."""
    with new_postgresql_server() as running:
        yield running


def cut_often(server: Server) -> None:
    """Every fifth connection, again and again."""
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        server.cut_connections(random.choice((1, 5)))
        time.sleep(0.05)


def stop_for(server: Server, seconds: float) -> None:
    server.stop()
    time.sleep(seconds)
    server.start()


def exhaust(server: Server) -> None:
    with server.exhausted():
        time.sleep(1.5)


@pytest.mark.parametrize("fault", ["cut", "stopped", "exhausted"])
def test_a_search_goes_on_when_postgresql_is_back(
    server: Server, tmp_path: Path, fault: str
) -> None:
    check_outage(server, tmp_path / "search", fault)


@pytest.mark.long
def test_a_search_goes_on_after_twenty_seconds(server: Server, tmp_path: Path) -> None:
    check_outage(server, tmp_path / "search", "stopped long")


def check_outage(server: Server, folder: Path, fault: str) -> None:
    url = new_database(server.uri)
    driver = start_driver(url, TRIALS, folder, pause_seconds=0.05)
    while len(acknowledged(folder)) < 5:
        time.sleep(0.01)
    {
        "cut": lambda: cut_often(server),
        "stopped": lambda: stop_for(server, 1.5),
        "stopped long": lambda: stop_for(server, 20.0),
        "exhausted": lambda: exhaust(server),
    }[fault]()
    driver.join()
    assert driver.exitcode == 0
    with open_database(url) as database:
        found = check_study(database, STUDY, TRIALS, acknowledged=acknowledged(folder))
        check_no_repeats(found)
        assert [launch.outcome for launch in database.open_study(STUDY).launches.all()] == ["done"]


def test_beyond_the_outage_the_search_ends_and_can_be_gone_on_with(
    server: Server, tmp_path: Path
) -> None:
    url, listener = new_database(server.uri), Listener()
    limits = replace(LIMITS, outage_seconds=0.5)
    with open_database(url) as database:
        session = open_session(database, 6, limits=limits, observer=listener)
        drive(session, epochs=4)
        server.stop()
        for close in (lambda: drive(session), lambda: session.close("failed")):
            with pytest.raises(StorageUnavailable, match="see that the server is up") as error:
                close()
            assert "\n" not in str(error.value)
        server.start()
    [said] = listener.said  # once: to close does not wait all over again
    assert "waiting for up to" in said
    with open_database(url) as database:
        # The process that died is this one, which lives on.
        launches = database.open_study(STUDY).launches
        launches.end(launches.all()[0].id, "killed")
        search(database, 6)
        check_study(database, STUDY, 6)


def test_who_is_told_to_end_does_not_wait(server: Server) -> None:
    url = new_database(server.uri)
    with open_database(url) as database:
        stop = StopRequest(Budget())
        session = open_session(database, 3, stop=stop)
        stop.signal = signal.SIGINT
        server.stop()
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            session.next_trial()
        assert time.monotonic() - started < session._outage.limit_seconds / 3
        server.start()


@pytest.mark.parametrize("survives", [True, False])
def test_a_locked_file_is_waited_for_as_long_as_its_time_out(
    url: str, tmp_path: Path, survives: bool
) -> None:
    with open_database(url, busy_timeout_seconds=60.0 if survives else 0.5) as database:
        session = open_session(database, 4)
        drive(session, epochs=2)
        with closing(sqlite3.connect(tmp_path / "search.db", check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            if survives:
                timer = threading.Timer(0.8, other.rollback)
                timer.start()
                drive(session, epochs=2)
                timer.join()
            else:
                with pytest.raises(StorageUnavailable, match="is locked by another program"):
                    drive(session)
        drive(session)
        session.close("done")
        check_study(database, STUDY, 4)


@contextmanager
def answers_lost(engine: Engine, share: float, draw: random.Random) -> Iterator[None]:
    """Let some commits be kept although the connection says that they failed."""
    commit = engine.dialect.do_commit

    def unheard(connection: object) -> None:
        commit(connection)
        if draw.random() < share:
            if engine.name == "sqlite":
                error: Exception = sqlite3.OperationalError("database is locked")
                error.sqlite_errorname = "SQLITE_BUSY"
                raise error
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    engine.dialect.do_commit = unheard
    try:
        yield
    finally:
        engine.dialect.do_commit = commit


def test_what_was_kept_unheard_is_not_kept_twice(either_database: Database) -> None:
    quick = replace(LIMITS, lease_seconds=1.2)  # what nobody knows of is given up at a heartbeat
    session = open_session(either_database, 8, limits=quick)
    ours, optunas = either_database.connections.engine, either_database.optuna_storage.engine
    with (
        answers_lost(ours, 0.1, random.Random(1)),
        answers_lost(optunas, 0.1, random.Random(2)),
    ):
        drive(session)
        session.close("done")
    found = check_study(either_database, STUDY, 8)
    check_no_repeats(found)


def test_a_full_disk_is_not_waited_for(database: Database) -> None:
    session = open_session(database, 3)
    with database.connections.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    tried = []

    def full(again: bool) -> None:
        tried.append(again)
        raise StorageUnavailable("search.db has no room left on its disk")

    with pytest.raises(StorageUnavailable, match="no room left"):
        session._outage.repeat(full)
    assert tried == [False]
    session.close("failed")


def test_a_study_deleted_meanwhile_ends_the_search_in_one_line(either_database: Database) -> None:
    session = open_session(either_database, 3)
    started = session.next_trial()
    either_database.optuna_storage.delete_study(session.store.study_id)
    with pytest.raises(StorageUnavailable, match="was deleted meanwhile; start the search again"):
        session.next_trial()
    assert started is not None
