"""What all tests share: the rooms are importable, and a small data set of real images."""

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # plain `pytest`, unlike `python -m pytest`, leaves it out

IMAGES = 2400

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of four idx files with the first images of the real training set."""
    from fmnist_models.fetch import find_data
    from fmnist_models.idx import FILE_NAMES, read_training_files

    files = read_training_files(find_data().directory)
    folder = tmp_path_factory.mktemp("small-data")
    for name in FILE_NAMES:
        whole = files.images if "images" in name else files.labels
        _write_idx(folder / name, whole[:IMAGES] if name.startswith("train") else whole[:200])
    return folder


def _write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.tobytes())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty working folder."""
    place = tmp_path / "working"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> Refused:
    """Give a check: a command ends with status 2, one line, and an unchanged working folder."""

    def check(
        main: Callable[[list[str]], int], arguments: list[str], *says: str, status: int = 2
    ) -> str:
        before = sorted(folder.iterdir())
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert (code, out) == (status, "")
        assert err.count("\n") == 1, err
        assert [part for part in says if part not in err] == [], err
        assert sorted(folder.iterdir()) == before
        return err

    return check


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Give the URI of a PostgreSQL server of our own, stopped and deleted at the end."""
    from tests.postgresql import new_postgresql_server

    with new_postgresql_server() as server:
        yield server.uri


@pytest.fixture(scope="session")
def new_postgresql_url(postgresql_server: str) -> Callable[[], str]:
    """Give a function that makes a new, empty PostgreSQL database and gives back its URL."""
    from tests.postgresql import new_database

    return lambda: new_database(postgresql_server)


@pytest.fixture
def postgresql_url(new_postgresql_url: Callable[[], str]) -> str:
    """Give the URL of a new, empty PostgreSQL database."""
    return new_postgresql_url()
