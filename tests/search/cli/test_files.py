"""Databases, data and configurations that are none: refused in one line, and nothing is changed."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

import fmnist_models.__main__ as models_main
import run_search
from fmnist_models.data.download import find_data
from tests.conftest import Refused
from tests.search.cli.test_options import NEEDED


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but it is long enough to look like one" * 50)


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    connection.close()


def _plain_optuna(path: Path) -> None:
    optuna.create_study(study_name="quick", storage=f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_garbage, ["is not a SQLite database"]),
        (_foreign, ["belongs to another program"]),
        (_plain_optuna, ["'quick'", "was not made by fmnist-search"]),
        (Path.mkdir, ["is a folder"]),
    ],
)
def test_a_file_that_is_no_search(
    refused: Refused, small_data: Path, folder: Path, make: Callable[[Path], None], says: list[str]
) -> None:
    make(folder / "search.db")
    common = ["--space", "quick", "--trials", "2", "--data-dir", str(small_data)]
    refused(run_search.main, [*common, "--storage", "sqlite:///search.db"], *says)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def _changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def _compressed_and_cut(folder: Path) -> None:
    whole = gzip.compress((folder / IMAGES).read_bytes(), 1)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / IMAGES).unlink(), [IMAGES]),
        (lambda folder: (folder / "t10k-labels-idx1-ubyte").unlink(), ["t10k-labels"]),
        (_compressed_and_cut, [f"{IMAGES}.gz", "cut short or corrupt"]),
        (_changed(IMAGES, lambda data: data[:-1]), [IMAGES, "bytes instead of"]),
        (_changed(IMAGES, lambda data: data + b"x"), [IMAGES, "more than the"]),
        (_changed(IMAGES, lambda data: b""), [IMAGES, "nothing"]),
        (_changed(IMAGES, lambda data: b"\0\0\x09" + data[3:]), [IMAGES, "not an idx file"]),
        (_changed(IMAGES, lambda data: data[:8] + b"\0\0\0\x1d" + data[12:]), [IMAGES, "29"]),
        (_changed(IMAGES, lambda data: data[:4] + b"\xff" * 4 + data[8:]), [IMAGES]),
        (
            _changed(LABELS, lambda data: data[:4] + b"\0\0\x09\x5f" + data[8:-1]),
            [LABELS, "2400 images", "2399 labels"],
        ),
        (_changed(LABELS, lambda data: data[:-1] + b"\xc8"), [LABELS, "labels up to 200"]),
    ],
)
def test_data_that_is_no_data(
    refused: Refused,
    small_data: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    says: list[str],
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(small_data, damaged)
    damage(damaged)
    refused(run_search.main, [*NEEDED, "--data-dir", str(damaged)], str(damaged), *says)


def test_a_place_with_no_data(refused: Refused, tmp_path: Path) -> None:
    common = [*NEEDED, "--data-dir"]
    refused(run_search.main, [*common, str(tmp_path / "none")], str(tmp_path / "none"))
    refused(run_search.main, [*common, __file__], __file__)
    refused(run_search.main, [*common, ""], "--data-dir")


def test_altered_fashion_mnist_is_refused(refused: Refused, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(find_data().directory, altered)
    for path in altered.glob(f"{LABELS}*"):
        content = path.read_bytes()
        labels = gzip.decompress(content) if path.suffix == ".gz" else content
        path.unlink()
        (altered / LABELS).write_bytes(labels[:-1] + bytes([labels[-1] ^ 1]))
    refused(run_search.main, [*NEEDED, "--data-dir", str(altered)], "altered", LABELS)


GOOD = b'{"model": {"family": "quick"}, "optimizer": {"kind": "sgd", "lr": 0.1}, "epochs": 1}'
BOMB = json.dumps({"a": "x" * 1000}) * 2
CONFIGS: list[tuple[bytes, str]] = [
    (b"", "is not JSON"),
    (b"\xff\xfe{}", "is not UTF-8"),
    (b" " * 10_000_000, "over 1 MB"),
    (b"[" * 500_000, "is not JSON"),
    (b"{}", "model"),
    (b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "is not JSON"),
    (BOMB.encode(), "is not JSON"),
    (b"9" * 5000, "is not JSON"),
    (GOOD[:-1] + b', "batch_size": 1e400}', "batch_size"),
    (GOOD[:-1] + b', "nonsense": 1}', "nonsense"),
]


@pytest.mark.parametrize(("content", "says"), CONFIGS)
def test_a_file_that_is_no_configuration(
    refused: Refused, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    refused(models_main.main, ["train", str(path), "--out", "out"], "config.json", says)
