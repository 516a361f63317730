"""SQLite files that are not ours, broken, or in the wrong place: refused, and left as they were."""

import os
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from storage import OptunaAlone, StorageRefused, StorageUnavailable, open_database
from storage.tables import VERSION_TABLE
from tests.conftest import Unprivileged


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_garbage(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 500)


def write_short_garbage(path: Path) -> None:
    path.write_bytes(b"hello")


def write_half(path: Path) -> None:
    """A database file cut in the middle, as an interrupted copy leaves it."""
    with open_database(f"sqlite:///{path}"):
        pass
    os.truncate(path, path.stat().st_size // 2)


def write_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE studies (a); INSERT INTO studies VALUES (1)")


def write_foreign_wal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE photos (a)")


def write_newer(path: Path) -> None:
    with open_database(f"sqlite:///{path}"):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        connection.commit()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_garbage, "is not a SQLite database"),
        (write_short_garbage, "is not a SQLite database"),
        (write_half, "is damaged"),
        (write_foreign, "belongs to another program"),
        (write_foreign_wal, "belongs to another program"),
        (write_newer, "newer fmnist-search .schema 9999"),
        (Path.mkdir, "is a folder"),
    ],
)
def test_unusable_file_is_refused_unchanged(
    tmp_path: Path, write: Callable[[Path], None], reason: str, create: bool
) -> None:
    path = tmp_path / "search.db"
    write(path)
    before = snapshot(tmp_path)
    with pytest.raises(StorageRefused, match=rf"search\.db.*{reason}") as refusal:
        open_database(f"sqlite:///{path}", create=create)
    assert "\n" not in str(refusal.value)
    assert snapshot(tmp_path) == before


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="folder does not exist"):
        open_database(f"sqlite:///{tmp_path}/no/search.db")
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_refused_for_root_too() -> None:
    with pytest.raises(StorageRefused, match=r"/proc/\d+ is read-only"):
        open_database("sqlite:////proc/self/search.db")


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555)])
def test_read_only_file_or_folder_is_refused(
    public_folder: Path, unprivileged: Unprivileged, file_mode: int, folder_mode: int
) -> None:
    path = public_folder / "search.db"
    with open_database(f"sqlite:///{path}"):
        pass
    path.chmod(file_mode)
    public_folder.chmod(folder_mode)
    before = snapshot(public_folder)
    with unprivileged(), pytest.raises(StorageRefused, match="read-only"):
        open_database(f"sqlite:///{path}")
    assert snapshot(public_folder) == before


def test_empty_file_is_taken_as_new(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    path.touch()
    with pytest.raises(StorageRefused, match="no search has been stored"):
        open_database(f"sqlite:///{path}", create=False)
    assert path.stat().st_size == 0
    with open_database(f"sqlite:///{path}") as database:
        assert database.study_names() == []


def test_a_file_of_optunas_is_shown_unchanged_and_gets_our_tables_by_a_search(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/search.db"
    optuna.create_study(storage=url, study_name="old").optimize(lambda trial: 1.0, n_trials=2)
    before = (tmp_path / "search.db").read_bytes()
    with pytest.raises(OptunaAlone, match=r"made by Optuna itself: 'old' \(2 trials\)"):
        open_database(url, create=False)
    assert (tmp_path / "search.db").read_bytes() == before
    with open_database(url) as database:
        study = optuna.load_study(study_name="old", storage=database.optuna_storage)
        assert len(study.trials) == 2
        database.remember_study("old", {})
        assert len(database.open_study("old").trials()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["search.db"]


def test_failed_creation_leaves_nothing_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # a disk that is full after two pages
    try:
        with pytest.raises(StorageUnavailable, match="full disk"):
            open_database(f"sqlite:///{tmp_path}/search.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
