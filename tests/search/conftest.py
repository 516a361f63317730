"""A new SQLite database for each test."""

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
def database(url: str) -> Iterator[Database]:
    """Give a new, open database."""
    with open_database(url) as opened:
        yield opened
