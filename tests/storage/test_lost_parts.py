"""Tables and rows that somebody has dropped: one line that is true, and whose fault it is not."""

import optuna
import pytest
from sqlalchemy import inspect

from storage import (
    Database,
    StorageError,
    StorageUnavailable,
    StudyStore,
    as_storage_error,
    open_database,
    trial_id_of,
)
from storage.optuna_tables import NEEDED_TABLES
from storage.tables import VERSION_TABLE, metadata
from tests.storage.test_storage_records import START

OURS = sorted(metadata.tables)
DROPPED = [*OURS, VERSION_TABLE, "studies", "trials", "trial_values"]


def drop(database: Database, table: str) -> None:
    """Drop a table, whoever refers to it."""
    engine = database.connections.engine
    cascade = "" if engine.dialect.name == "sqlite" else " CASCADE"
    database.optuna_storage.engine.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {table}{cascade}")


def test_the_tables_of_optuna_are_known(database: Database) -> None:
    database.optuna_storage.get_all_studies()
    found = set(inspect(database.connections.engine).get_table_names())
    assert found - {*OURS, VERSION_TABLE, "alembic_version"} == NEEDED_TABLES


@pytest.mark.parametrize("table", DROPPED)
def test_a_dropped_table_is_named_when_the_database_is_opened(sqlite_url: str, table: str) -> None:
    with open_database(sqlite_url) as database:
        new_study(database)
        drop(database, table)
    for create in (True, False):
        with pytest.raises(StorageUnavailable, match=f"has no {table} any more.* backup") as caught:
            open_database(sqlite_url, create=create)
        assert "\n" not in str(caught.value)


def new_study(database: Database) -> StudyStore:
    database.remember_study("wrn", {"space": "wrn"})
    optuna.create_study(study_name="wrn", storage=database.optuna_storage)
    store = database.open_study("wrn")
    store.launches.start(START)
    return store


def test_tables_dropped_in_postgresql_are_named_too(postgresql_url: str) -> None:
    with open_database(postgresql_url) as database:
        new_study(database)
        drop(database, "search_epoch")
    with pytest.raises(StorageUnavailable, match="has no search_epoch any more"):
        open_database(postgresql_url)


@pytest.mark.parametrize("table", ["search_trial", "trials"])
def test_a_table_dropped_under_way_is_named(
    store: StudyStore, database: Database, table: str
) -> None:
    study = optuna.load_study(study_name="wrn", storage=store.optuna_storage)
    drop(database, table)
    with pytest.raises(StorageUnavailable, match=f"has no {table} any more"):
        store.counts()
    if table == "trials":
        with pytest.raises(Exception, match=r"trials|StorageInternalError") as caught:
            study.ask()
        known = as_storage_error(caught.value, database.url)
        assert isinstance(known, StorageError)
        assert "has no trials any more" in str(known)


def test_a_row_that_is_gone_is_told_from_a_study_that_is(
    store: StudyStore, database: Database
) -> None:
    study = optuna.load_study(study_name="wrn", storage=store.optuna_storage)
    first, last = study.ask(), study.ask()
    store.add_trial(last.number, 1, {})
    for trial, says in ((last, 1), (first, 2)):
        with database.connections.engine.begin() as connection:
            where = f"WHERE trial_id = {trial_id_of(trial)}"
            connection.exec_driver_sql(f"DELETE FROM trials {where}")
        with (
            pytest.raises(StorageUnavailable, match=r"a running trial .* was deleted"),
            store.transaction(trial_id_of(trial)),
        ):
            pytest.fail("there was no such trial")
        assert store.deleted_trials() == says
    optuna.delete_study(study_name="wrn", storage=database.optuna_storage)
    with (
        pytest.raises(StorageUnavailable, match="the study was deleted"),
        store.transaction(),
    ):
        pytest.fail("there was no such study")
