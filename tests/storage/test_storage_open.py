"""Opening: creation, races, migrations and the tuning of every connection."""

import copy
import logging
import multiprocessing
import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import alembic.command  # noqa: F401 - beforehand, so that all who are forked are equally quick
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from storage import Database, StorageRefused, StudyStore, open_database
from storage.schema import MIGRATIONS, ensure_schema
from storage.tables import SCHEMA_VERSION, VERSION_TABLE, metadata

ROOT = Path(__file__).parents[2]
NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    with op.batch_alter_table("search_trial") as batch:
        batch.add_column(sa.Column("colour", sa.Text))
"""


def test_open_twice_keeps_what_is_there(url: str) -> None:
    with open_database(url) as database:
        database.remember_study("wrn", {"epochs": 9})
    with open_database(url, create=False) as database:
        assert database.study_identity("wrn") == {"epochs": 9}


def test_reading_creates_nothing(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StorageRefused, match="no search has been stored there yet"):
            open_database(url, create=False)
    assert not list(tmp_path.glob("search.db*"))


def test_every_sqlite_connection_is_tuned(sqlite_url: str) -> None:
    with open_database(sqlite_url) as database:
        # A heartbeat through ours brings to the disk what Optuna's wrote before: FULL and NORMAL.
        for engine, synchronous in (
            (database.connections.engine, 2),
            (database.optuna_storage.engine, 1),
        ):
            with engine.connect() as first, engine.connect() as second:
                for connection in (first, second):
                    values = {
                        name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                        for name in ("journal_mode", "synchronous", "busy_timeout")
                    }
                    assert values == {
                        "journal_mode": "wal",
                        "synchronous": synchronous,
                        "busy_timeout": 60_000,  # milliseconds
                    }


def test_closing_leaves_one_file(sqlite_url: str, tmp_path: Path) -> None:
    with open_database(sqlite_url) as database:
        database.optuna_storage.get_all_studies()
    assert [path.name for path in tmp_path.iterdir()] == ["search.db"]


def test_migrated_schema_equals_the_metadata(database: Database) -> None:
    with database.connections.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
        )
        assert context.get_current_revision() == SCHEMA_VERSION
        assert compare_metadata(context, metadata) == []


def test_code_names_the_newest_migration() -> None:
    assert ScriptDirectory(MIGRATIONS).get_current_head() == SCHEMA_VERSION


@pytest.fixture
def next_migrations(tmp_path: Path) -> Path:
    """Give our migrations with one more, as a later release will have."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "r0002_colour.py").write_text(NEXT_REVISION)
    return folder


def upgrade_to_next(engine: Engine, migrations: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.schema.SCHEMA_VERSION", "0002")
    ensure_schema(engine, create=True, wait_seconds=5, migrations=migrations)


def test_older_schema_is_upgraded_with_its_data(
    database: Database, store: StudyStore, next_migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_trial(0, 1, {"depth": 16})
    upgrade_to_next(database.connections.engine, next_migrations, monkeypatch)
    with database.connections.engine.connect() as connection:
        row = connection.execute(text("SELECT number, colour FROM search_trial")).one()
    assert tuple(row) == (0, None)


def test_a_command_that_reads_leaves_an_older_schema_alone(
    database: Database, next_migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.schema.SCHEMA_VERSION", "0002")
    engine = database.connections.engine
    with pytest.raises(StorageRefused, match=r"was written by an older .*: go on with a search"):
        ensure_schema(engine, create=False, wait_seconds=5, migrations=next_migrations)
    monkeypatch.undo()
    ensure_schema(engine, create=False, wait_seconds=5)


def test_upgrade_of_a_file_keeps_a_backup(
    sqlite_url: str,
    tmp_path: Path,
    next_migrations: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open_database(sqlite_url) as database, caplog.at_level(logging.WARNING):
        database.remember_study("wrn", {"epochs": 9})
        upgrade_to_next(database.connections.engine, next_migrations, monkeypatch)
    monkeypatch.undo()
    (backup,) = tmp_path.glob("search.db.schema-0001-*.backup")
    assert str(backup) in caplog.text
    with open_database(f"sqlite:///{backup}", create=False) as old:
        assert old.study_identity("wrn") == {"epochs": 9}


def test_failed_upgrade_changes_nothing(
    sqlite_url: str, tmp_path: Path, next_migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = next_migrations / "versions" / "r0002_colour.py"
    script.write_text(NEXT_REVISION + "    raise ZeroDivisionError\n")
    with open_database(sqlite_url) as database, pytest.raises(ZeroDivisionError):
        upgrade_to_next(database.connections.engine, next_migrations, monkeypatch)
    with closing(sqlite3.connect(tmp_path / "search.db")) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(search_trial)")}
        assert "number" in columns and "colour" not in columns


def test_newer_schema_is_refused_unchanged(url: str) -> None:
    with open_database(url) as database, database.connections.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    for create in (True, False):
        with pytest.raises(StorageRefused, match=r"newer fmnist-search \(schema 9999"):
            open_database(url, create=create)


FORK = multiprocessing.get_context("fork")
"""Saves the imports of fresh processes, and so lets all be equally quick."""


def create(name: str, urls: list[str], start: Barrier) -> None:
    """Open the databases one after another, each when all who share `start` are there."""
    for url in urls:
        start.wait()
        with open_database(url) as database:
            database.remember_study(name, {})
            database.optuna_storage.get_all_studies()


def race(urls: list[str]) -> None:
    """Let four processes create the same new databases, each at the same moment."""
    names = ["study0", "study1", "study2", "study3"]
    start = FORK.Barrier(len(names))
    drivers = [FORK.Process(target=create, args=(name, urls, start)) for name in names]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0] * len(drivers)
    for url in urls:
        with open_database(url, create=False) as database:
            assert database.study_names() == names


def test_four_processes_create_one_sqlite_file(tmp_path: Path) -> None:
    race([f"sqlite:///{tmp_path}/race{number}.db" for number in range(6)])


def test_four_processes_create_in_one_postgresql_database(
    new_postgresql_url: Callable[[], str],
) -> None:
    race([new_postgresql_url() for _ in range(3)])


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1, 0.2])
def test_creation_killed_half_way_is_made_good(sqlite_url: str, seconds: float) -> None:
    start = FORK.Barrier(2)
    driver = FORK.Process(target=create, args=("killed", [sqlite_url], start))
    driver.start()
    start.wait()
    time.sleep(seconds)
    driver.kill()
    driver.join()
    with open_database(sqlite_url) as database:
        assert database.study_names() in ([], ["killed"])
        assert database.optuna_storage.get_all_studies() == []


def test_what_a_killed_writer_had_begun_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "half.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size=1")  # so that the file is changed before the commit
    writer.execute("BEGIN")
    writer.execute("CREATE TABLE begun (x)")
    writer.executemany("INSERT INTO begun VALUES (zeroblob(4000))", [()] * 50)
    for name in ("half.db", "half.db-journal"):
        shutil.copy(tmp_path / name, tmp_path / name.replace("half", "search"))
    writer.close()
    with open_database(f"sqlite:///{tmp_path}/search.db") as database:
        assert database.study_names() == []
    with sqlite3.connect(tmp_path / "search.db") as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE name = 'begun'").fetchall()
    assert names == []


def test_one_at_a_time_is_inside(database: Database) -> None:
    inside, seen = [0], []

    def enter() -> None:
        for _ in range(10):
            with database.exclusive():
                inside[0] += 1
                time.sleep(0.001)
                seen.append(inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 40


def test_nothing_with_a_password_is_pickled(database: Database) -> None:
    for thing in (database, database.optuna_storage):
        for copier in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match=r"open_database\(url\)"):
                copier(thing)


def test_import_stays_cheap() -> None:
    code = "import storage, sys; print({'alembic', 'optuna', 'psycopg', 'torch'} & {*sys.modules})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_new_file_is_its_owners_alone_and_others_keep_their_mode(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    with open_database(f"sqlite:///{path}") as database:
        database.optuna_storage.get_all_studies()
        database.study_names()
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    path.chmod(0o640)
    with open_database(f"sqlite:///{path}"):
        assert path.stat().st_mode & 0o777 == 0o640
