"""A database file that somebody deletes, moves, replaces or truncates while it is used."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from storage import Database, StorageUnavailable, open_database
from storage.engine import make_engine

Act = Callable[[Path], object]
BIG = {"text": "x" * 200_000}


@pytest.fixture
def path(tmp_path: Path, empty_sqlite: Path) -> Path:
    """Give the path of a database."""
    return Path(shutil.copy(empty_sqlite, tmp_path / "search.db"))


@pytest.fixture
def opened(path: Path) -> Iterator[Database]:
    """Give it open, with a study whose rows are in the journal still."""
    with open_database(f"sqlite:///{path}") as database:
        database.remember_study("wrn", {"space": "wrn"})
        yield database


def delete_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("other.db"))
    path.with_name("other.db").replace(path)


MOVES: dict[str, tuple[Act, str]] = {
    "deleted": (Path.unlink, "was deleted or moved"),
    "deleted with its journal": (delete_all, "was deleted or moved"),
    "moved": (lambda path: path.rename(path.with_name("moved.db")), "was deleted or moved"),
    "replaced": (replace, "was replaced"),
}


@pytest.mark.parametrize("how", MOVES)
def test_what_a_file_held_that_is_gone_is_rescued(path: Path, opened: Database, how: str) -> None:
    act, says = MOVES[how]
    act(path)
    for _ in range(2):  # the second time nothing is rescued anew
        with pytest.raises(StorageUnavailable, match=says) as caught:
            opened.study_names()
    assert not caught.value.passing
    (rescued,) = path.parent.glob("search.db.rescued-*")
    assert f"kept as {rescued}: put that back" in str(caught.value)
    assert rescued.stat().st_mode & 0o777 == 0o600
    with open_database(f"sqlite:///{rescued}", create=False) as kept:
        assert kept.study_identity("wrn") == {"space": "wrn"}
    assert path.exists() == (how == "replaced"), "nobody makes an empty file in its place"


def test_a_write_into_a_file_that_is_gone_is_not_acknowledged(path: Path, opened: Database) -> None:
    with pytest.raises(StorageUnavailable, match="was deleted"), opened.connections.transaction():
        path.unlink()


def test_no_connection_makes_a_missing_file_anew(path: Path, opened: Database) -> None:
    path.unlink()
    with pytest.raises(OperationalError, match="unable to open"):
        make_engine(opened.connections.engine.url, busy_timeout_seconds=1).connect()
    assert not path.exists()


def test_a_folder_that_is_gone_leaves_what_it_held_elsewhere(
    path: Path,
    opened: Database,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    shutil.rmtree(path.parent)
    with pytest.raises(StorageUnavailable, match=f"kept as {elsewhere}"):
        opened.study_names()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_file_is_noticed(path: Path, opened: Database, share: float) -> None:
    opened.remember_study("big", BIG)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert opened.study_names() == ["big", "wrn"]
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(StorageUnavailable, match=r"was truncated .*put back a backup"):
        opened.study_names()
    assert not list(path.parent.glob("*.rescued-*")), "half a database is worse than none"


def test_a_file_that_vacuum_shrinks_is_whole(path: Path, opened: Database) -> None:
    opened.remember_study("big", BIG)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert opened.study_names() == ["big", "wrn"]
        before = path.stat().st_size
        other.execute("DELETE FROM search_study WHERE study_name = 'big'")
        other.commit()
        other.execute("VACUUM")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < before
    assert opened.study_names() == ["wrn"]


def test_who_lets_go_of_a_replaced_file_leaves_the_journal_of_the_other(
    path: Path, opened: Database
) -> None:
    replace(path)
    with open_database(f"sqlite:///{path}") as other:
        other.remember_study("cnn", {})
        with pytest.raises(StorageUnavailable, match="was replaced"):
            opened.study_names()
        opened.close()
        assert path.with_name("search.db-wal").exists()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as third:
            names = third.execute("SELECT study_name FROM search_study").fetchall()
    assert ("cnn",) in names
