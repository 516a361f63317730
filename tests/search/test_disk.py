"""Where checkpoints lie, and that a search ends in order before its disk is full."""

import time
from pathlib import Path

import pytest

from search import disk
from search.disk import DiskWatch, checkpoint_folder, places_written
from search.errors import SurroundingsError, UsageError
from search.settings import make_settings


def folder_of(**options: object) -> Path:
    return checkpoint_folder(make_settings(space="quick", trials=1, study="s", **options))


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


def test_a_search_ends_when_a_disk_has_less_than_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(
        space="quick", trials=1, study="s", storage=f"sqlite:///{tmp_path}/x.db"
    )
    places = places_written(settings, tmp_path / "not" / "there")
    DiskWatch(places, least_bytes=1).check()
    monkeypatch.setattr(disk, "CHECK_SECONDS", 0.2)
    watch = DiskWatch(places, least_bytes=10**18)
    for _ in range(2):
        with pytest.raises(SurroundingsError, match="--min-free 1000000000000 MB; make room"):
            watch.check()
        watch.check()  # not looked at again so soon
        time.sleep(0.25)
