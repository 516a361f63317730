"""Folders that are another user's, homes that are not known: one line, nothing written."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import search.__main__ as search_main
from fmnist_models.__main__ import main
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.data.download import find_data
from fmnist_models.errors import DataError
from fmnist_models.files import user_cache, write_atomically
from search.errors import UsageError
from search.planning import measured
from search.planning.measured import FOLDER_VARIABLE, Figures, Probed, measured_folder
from search.workspace import checkpoint_folder
from spaces.__main__ import main as spaces_main
from tests.conftest import Refused


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Have `folder` closed to this process, which gives up root's rights where it has them."""
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(12345)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(0o700)


Command = Callable[[list[str]], int]
COMMANDS = [
    ["predict", "{}/model", "{}/picture.png"],
    ["ensemble", "{}/a", "{}/b", "--out", "out"],
    ["evaluate", "{}/model"],
    ["train", "{}/config.json", "--out", "out"],
    ["train", "config.json", "--out", "{}/out"],
    ["train", "config.json", "--out", "{}"],
    ["train", "config.json", "--out", "{}/out", "--seeds", "2"],
    ["export-onnx", "{}/model"],
]
FIGURES = Figures(
    measured_at=1.0,
    step_seconds=1.0,
    precision="fp32",
    probed=(Probed(image_seconds=1.0, peak_bytes=0),),
)
GOOD = '{"model": {"family": "quick"}, "optimizer": {"kind": "sgd", "lr": 0.1}, "epochs": 1}'


def let_others_through(*places: Path) -> None:
    """Have all users get to `places`, past the folders of the tests' own user."""
    for place in {above for below in places for above in (below, *below.parents)}:
        if place.stat().st_uid == os.getuid():
            place.chmod(place.stat().st_mode | 0o011)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_another_users_folder_is_told_in_a_line(
    refused: Refused, folder: Path, tmp_path: Path, small_data: Path, command: list[str]
) -> None:
    (folder / "config.json").write_text(GOOD)
    data = ["--data-dir", str(small_data)] if command[0] in ("train", "evaluate") else []
    (tmp_path / "file").touch()
    nowhere = [word.format(tmp_path / "file" / "x") for word in command]
    refused(main, nowhere + data, "file")  # which imports all that is needed, too
    place = tmp_path / "closed"
    place.mkdir()
    let_others_through(folder, small_data)
    with closed(place):
        refused(main, [word.format(place) for word in command] + data, str(place), "Permission")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (spaces_main, ["point", "quick", "quick-2-16", "--out", "{}/x.json"]),
        (search_main.main, ["status", "--storage", "sqlite:///{}/x.db"]),
    ],
)
def test_other_commands_tell_it_too(
    refused: Refused, folder: Path, tmp_path: Path, command: Command, arguments: list[str]
) -> None:
    refused(command, [word.format(tmp_path / "none") for word in arguments], "none")
    place = tmp_path / "closed"
    place.mkdir()
    let_others_through(folder)
    with closed(place):
        refused(command, [word.format(place) for word in arguments], str(place))


@pytest.mark.parametrize(
    ("name", "says"),
    [("x" * 300, "too long"), ("loop", "loop"), ("file/below", "Not a directory")],
)
def test_what_is_no_place_is_told_in_a_line(
    refused: Refused, folder: Path, name: str, says: str
) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "file").touch()
    (folder / "config.json").write_text(GOOD)
    said = refused(main, ["train", "config.json", "--out", name])
    assert name[:8] in said


def test_a_device_or_a_pipe_is_not_replaced(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        with pytest.raises(Exception, match="no ordinary file"):
            write_atomically(folder / name, b"x")
    assert (folder / "pipe").is_fifo()
    assert (folder / "link").is_symlink()


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a user that no table of users knows, as containers do."""

    def unknown(user: object) -> None:
        raise KeyError(user)

    for name in ("HOME", "XDG_CACHE_HOME", FOLDER_VARIABLE, "FASHION_MNIST_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_without_a_home_what_needs_none_works(
    no_home: None, folder: Path, tmp_path: Path, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user_cache() is None
    probe = TrialConfig.model_validate_json(GOOD)
    monkeypatch.setattr(measured, "measure", lambda *_: FIGURES)
    assert measured.measured_here([probe], few, "cpu").note == ""
    with pytest.raises(UsageError, match="--checkpoint-dir"):
        checkpoint_folder("postgresql://u@h/d", "s", None)
    with pytest.raises(DataError, match=r"HOME.*--data-dir"):
        find_data(debian_directory=tmp_path / "none", mirrors=[])
    assert list(folder.iterdir()) == [], "no folder called ~"


@pytest.mark.parametrize("variable", [FOLDER_VARIABLE, "FASHION_MNIST_DIR"])
def test_variables_know_homes(
    no_home: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    look = measured_folder if variable == FOLDER_VARIABLE else find_data
    monkeypatch.setenv(variable, "~nobody/x")
    with pytest.raises(Exception, match=r"~nobody/x.*in full"):
        look()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/x")
    if variable == FOLDER_VARIABLE:
        assert measured_folder() == tmp_path / "x"
    else:
        with pytest.raises(DataError, match=str(tmp_path / "x")):
            find_data()
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    cache = user_cache()
    assert cache and cache.is_relative_to(tmp_path)


def test_an_empty_path_is_none(refused: Refused) -> None:
    refused(main, ["train", "config.json", "--out", ""], "--out", "names no file")
