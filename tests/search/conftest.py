"""A new database for each test: SQLite, or both back ends in turn."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from storage import Database, open_database


@pytest.fixture(autouse=True)
def _quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/search.db"


@pytest.fixture
def database(url: str, tmp_path: Path, empty_sqlite: Path) -> Iterator[Database]:
    """Give a new, open database."""
    shutil.copy(empty_sqlite, tmp_path / "search.db")
    with open_database(url) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def either_url(request: pytest.FixtureRequest, url: str) -> str:
    """Give the URL of a new database on each back end in turn."""
    if request.param == "sqlite":
        return url
    found: str = request.getfixturevalue("postgresql_url")
    return found


@pytest.fixture
def either_database(either_url: str) -> Iterator[Database]:
    """Give a new, open database on each back end in turn."""
    with open_database(either_url) as opened:
        yield opened
