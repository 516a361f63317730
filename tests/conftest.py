"""What all tests share: the rooms are importable, and a small data set of real images."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # plain `pytest`, unlike `python -m pytest`, leaves it out

os.environ.setdefault("RAY_worker_niceness", "0")
"""Else Ray's workers are nice by 15, and starve beside the tests of the other process."""
MEASURED = "FMNIST_SEARCH_MEASURED"
NOBODY = 65534


def _share_what_is_measured() -> None:
    """One new folder for all that this run measures of the machine, its processes included.

    The first search fills it; the user's own is not touched. pytest-xdist's processes find it set.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[MEASURED] = tempfile.mkdtemp(prefix="measured-")
        atexit.register(shutil.rmtree, os.environ[MEASURED], ignore_errors=True)


_share_what_is_measured()
Refused = Callable[..., str]
Unprivileged = Callable[[], AbstractContextManager[None]]
LONGEST_FIRST = (
    "search/backend/test_worker_ray.py",
    "search/backend/test_real_ray.py",
    "search/backend/test_cluster.py",
    "search/backend/test_security.py",
    "search/backend/test_made_up_workers.py",
    "models/final/test_workers.py",
    "models/final/test_members.py",
    "spaces/test_distributions.py",
    "search/trials/test_many_drivers.py",
    "storage/test_storage_optuna.py",
    "spaces/test_spaces.py",
    "search/trials/test_database_outage.py",
    "models/final/test_train.py",
    "search/trials/test_session.py",
    "models/saved_model/test_onnx.py",
    "models/data/test_download.py",
    "models/compute/test_cuda_graphs.py",
    "models/final/test_train_killed.py",
    "models/training/test_optimizers.py",
    "search/trials/test_deaths.py",
    "search/schedulers/test_rank_correlation.py",
    "models/saved_model/test_pictures.py",
    "search/workers/test_worker.py",
    "models/training/test_micro_batches.py",
    "storage/test_storage_open.py",
    "models/report/test_report.py",
    "search/report/test_page.py",
    "search/trials/test_supervisor.py",
    "models/saved_model/test_predict.py",
    "models/final/test_watched.py",
)
"""Files by the seconds that they take: the last to begin must not be a long one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, in each of pytest-xdist's processes alike."""
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One thread, so that times and sums do not depend on who else is at work.

    A test may also fork, which several threads of OpenMP do not survive.
    """
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread_again(_one_thread: None) -> Iterator[None]:
    """Also after a test in which others were set."""
    import torch

    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of four idx files with the first images of the real training set."""
    from tests.small_data import write_small_data

    return write_small_data(tmp_path_factory.mktemp("small-data"))


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a SQLite file with all our and Optuna's tables, which take a quarter second to make.

    To be copied for whoever tests neither how a database is made nor that it is made.
    """
    from storage import open_database

    path = tmp_path_factory.mktemp("empty-sqlite") / "search.db"
    with open_database(f"sqlite:///{path}") as database:
        database.optuna_storage.get_all_studies()
    return path


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


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Give a folder that every user can reach (pytest's own are closed to others)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def unprivileged() -> Unprivileged:
    """Give a context manager in which file permissions count, even when root runs the tests."""
    return _unprivileged


@contextmanager
def _unprivileged() -> Iterator[None]:
    if os.getuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
