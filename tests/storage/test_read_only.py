"""Databases that can only be read: commands that only read need nothing more."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import psycopg
import pytest

from storage import StorageRefused, open_database
from tests.conftest import Unprivileged
from tests.storage.conftest import new_study

MODES = {"file": (0o444, 0o777), "folder": (0o666, 0o555), "both": (0o444, 0o555)}


@pytest.fixture
def path(public_folder: Path, empty_sqlite: Path) -> Path:
    """Give the path of a database with a study, in WAL mode and at rest."""
    path = Path(shutil.copy(empty_sqlite, public_folder / "search.db"))
    with open_database(f"sqlite:///{path}") as database:
        new_study(database, "wrn")
    return path


@contextmanager
def closed(path: Path, which: str) -> Iterator[None]:
    """Take away the right to write to the file, to its folder, or to both."""
    for place, mode in zip((path, path.parent), MODES[which], strict=True):
        place.chmod(mode)
    for beside in path.parent.glob("*-shm"):
        beside.chmod(0o644)
    for beside in path.parent.glob("*-wal"):
        beside.chmod(0o644)
    try:
        yield
    finally:
        path.parent.chmod(0o755)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("which", MODES)
def test_it_is_read_and_nothing_is_left_beside_it(
    path: Path, unprivileged: Unprivileged, which: str
) -> None:
    before = snapshot(path.parent)
    url = f"sqlite:///{path}"
    with closed(path, which), unprivileged():
        with open_database(url, create=False) as database:
            assert database.is_read_only
            store = database.open_study("wrn")
            assert store.counts() == {}
            assert store.trials() == []
            assert [s.study_name for s in database.optuna_storage.get_all_studies()] == ["wrn"]
            with pytest.raises(optuna.exceptions.StorageInternalError):
                optuna.create_study(storage=database.optuna_storage)
        with pytest.raises(StorageRefused, match="is read-only"):
            open_database(url)
    assert snapshot(path.parent) == before


def test_what_a_search_writes_meanwhile_is_seen(path: Path, unprivileged: Unprivileged) -> None:
    url = f"sqlite:///{path}"
    with open_database(url) as writer:
        new_study(writer, "cnn")  # in the journal still
        with closed(path, "both"), unprivileged(), open_database(url, create=False) as database:
            assert database.study_names() == ["cnn", "wrn"]
            os.setresuid(0, 0, 0) if os.getuid() == 65534 else None
            writer.remember_study("vgg", {})
            assert database.study_names() == ["cnn", "vgg", "wrn"]


def test_a_file_that_cannot_even_be_read_is_refused(path: Path, unprivileged: Unprivileged) -> None:
    path.chmod(0o600)
    if os.getuid():
        path.chmod(0)
    with unprivileged(), pytest.raises(StorageRefused, match="is closed to you"):
        open_database(f"sqlite:///{path}", create=False)


def test_a_postgresql_user_who_may_only_read(postgresql_url: str) -> None:
    with open_database(postgresql_url) as database:
        new_study(database, "wrn")
    with psycopg.connect(postgresql_url, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE reader LOGIN")
        administrator.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    host = postgresql_url.partition("@")
    url = f"postgresql://reader@{host[2]}"
    with open_database(url, create=False) as database:
        store = database.open_study("wrn")
        assert store.counts() == {}
        assert store.trials() == []
