"""Surroundings that fail: each becomes one line that says whose fault it is."""

import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from storage import (
    Database,
    StorageRefused,
    StorageUnavailable,
    as_storage_error,
    open_database,
)

CANARY = "c4n4ry"


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's write lock, as another program would."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_locked_file_is_waited_for(sqlite_url: str, tmp_path: Path) -> None:
    with open_database(sqlite_url) as database, locked(tmp_path / "search.db") as other:
        threading.Timer(0.5, other.rollback).start()
        started = time.monotonic()
        database.remember_study("wrn", {})
        assert time.monotonic() - started > 0.4
        assert database.study_identity("wrn") is not None


def test_file_locked_for_too_long(sqlite_url: str, tmp_path: Path) -> None:
    with open_database(sqlite_url, busy_timeout_seconds=0.2) as database:
        study = optuna.create_study(storage=database.optuna_storage)
        with locked(tmp_path / "search.db"):
            with pytest.raises(StorageUnavailable, match=r"search\.db is locked"):
                database.remember_study("wrn", {})
            with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
                study.set_user_attr("colour", "red")
        error = as_storage_error(caught.value, sqlite_url)
        assert isinstance(error, StorageUnavailable)
        assert "is locked" in str(error) and "\n" not in str(error)


def test_creation_waits_no_longer_than_told(sqlite_url: str, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "search.db").close()
    with locked(tmp_path / "search.db"), pytest.raises(StorageUnavailable, match="is locked"):
        open_database(sqlite_url, busy_timeout_seconds=0.2)


def test_inside_for_too_long(url: str) -> None:
    with (
        open_database(url) as first,
        open_database(url, busy_timeout_seconds=0.2) as second,
        first.exclusive(),
        pytest.raises(StorageUnavailable, match="lock"),
        second.exclusive(),
    ):
        pytest.fail("two were inside")


def test_full_disk(sqlite_url: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_database(sqlite_url) as database:
        database.remember_study("wrn", {})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, hard))
            with pytest.raises(StorageUnavailable, match=r"search\.db.*disk"):
                database.remember_study("cnn", {"text": "x" * (1 << 20)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert database.study_names() == ["wrn"]


def test_no_room_in_the_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.db")) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("CREATE TABLE big (a)")
    error = as_storage_error(caught.value, f"sqlite:///{tmp_path}/small.db")
    assert isinstance(error, StorageUnavailable)
    assert "no room left" in str(error)


def test_connections_cut_by_the_server_are_replaced(
    postgresql_url: str, postgresql_server: str
) -> None:
    with open_database(postgresql_url) as database:
        study = optuna.create_study(storage=database.optuna_storage, study_name="wrn")
        database.remember_study("wrn", {})
        with psycopg.connect(postgresql_server, autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname LIKE 'test_%' AND pid <> pg_backend_pid()"
            )
        assert database.study_names() == ["wrn"]
        assert study.ask().number == 0


def test_database_gone_under_way(postgresql_url: str, postgresql_server: str) -> None:
    name = postgresql_url.partition("?")[0].rpartition("/")[2]
    with open_database(postgresql_url) as database:
        study = optuna.create_study(storage=database.optuna_storage)
        with psycopg.connect(postgresql_server, autocommit=True) as administrator:
            administrator.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        with pytest.raises(StorageUnavailable, match=r"does not exist.*start again"):
            database.study_names()
        with pytest.raises((SQLAlchemyError, optuna.exceptions.StorageInternalError)) as caught:
            study.ask()
        assert isinstance(as_storage_error(caught.value, postgresql_url), StorageUnavailable)


def test_unknown_postgresql_database_is_the_users_mistake(postgresql_server: str) -> None:
    url = postgresql_server.replace("/postgres?", "/nosuch?")
    with pytest.raises(StorageRefused, match='"nosuch" does not exist'):
        open_database(url)


def test_no_server_is_the_surroundings_fault() -> None:
    url = f"postgresql://u:{CANARY}@127.0.0.1:1/db?password={CANARY}"
    with pytest.raises(StorageUnavailable, match="Connection refused") as caught:
        open_database(url)
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


def test_unknown_postgresql_option_is_the_users_mistake() -> None:
    with pytest.raises(StorageRefused, match="invalid connection option"):
        open_database(f"postgresql://u:{CANARY}@127.0.0.1/db?colour=red")


def test_incompatible_optuna_schema_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    with open_database(sqlite_url) as database:
        database.optuna_storage.get_all_studies()
    with closing(sqlite3.connect(tmp_path / "search.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99'")
        connection.commit()
    with (
        open_database(sqlite_url) as database,
        pytest.raises(StorageRefused, match=r"search\.db.*optuna"),
    ):
        database.optuna_storage.get_all_studies()


def test_a_bug_is_not_an_error_of_the_storage(database: Database) -> None:
    assert as_storage_error(ZeroDivisionError(), database.url) is None
    with (
        pytest.raises(DBAPIError, match="nonsense"),
        database.connections.transaction() as connection,
    ):
        connection.exec_driver_sql("SELECT nonsense")
