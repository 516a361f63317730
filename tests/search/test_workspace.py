"""Where checkpoints lie: beside the database or where they are asked for, nowhere else."""

from pathlib import Path

import pytest

from search.errors import UsageError
from search.settings import DEFAULT_STORAGE
from search.workspace import checkpoint_folder, places_written


def folder_of(storage: str = DEFAULT_STORAGE, checkpoint_dir: str | None = None) -> Path:
    return checkpoint_folder(storage, "s", checkpoint_dir)


def test_checkpoints_lie_beside_the_database_or_where_they_are_asked_for(folder: Path) -> None:
    assert folder_of(storage="sqlite:///x.db") == folder / "x.db.checkpoints" / "s"
    assert folder_of(checkpoint_dir="there") == folder / "there" / "s"
    on_servers = {folder_of(storage=f"postgresql://u@{host}/d") for host in ("a", "b")}
    assert len(on_servers) == 2
    assert all(place.name == "s" and place.is_absolute() for place in on_servers)
    assert list(folder.iterdir()) == []


def test_a_password_is_in_no_path() -> None:
    named = [folder_of(storage=f"postgresql://u:{word}@h/d") for word in ("secret", "other")]
    assert named[0] == named[1]


def test_what_cannot_be_a_folder_of_checkpoints_is_refused(folder: Path) -> None:
    (folder / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(UsageError, match=f"--checkpoint-dir .*{place}.* is no folder"):
            folder_of(checkpoint_dir=place)
    (folder / "c").mkdir()
    (folder / "c" / "s").symlink_to(folder)
    with pytest.raises(UsageError, match="leads elsewhere"):
        folder_of(checkpoint_dir="c")


def test_the_disks_of_database_and_checkpoints_are_watched(tmp_path: Path) -> None:
    there = tmp_path / "c"
    assert places_written(f"sqlite:///{tmp_path}/x.db", there) == [there, tmp_path]
    assert places_written("postgresql://u@h/d", there) == [there]
