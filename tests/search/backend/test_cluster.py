"""A search on a cluster of two real Ray nodes: code and data reach them, both train."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import open_database
from tests.search.checker import check_no_repeats, check_study
from tests.search.programs import assert_nothing_runs, finish, start
from tests.search.two_nodes import Cluster, two_nodes

STUDY = "quick"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Give a cluster of two nodes with a core each."""
    with (
        tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as name,
        two_nodes(Path(name)) as found,
    ):
        yield found


def test_a_search_runs_on_both_nodes(cluster: Cluster, tmp_path: Path, small_data: Path) -> None:
    options = ["--data-dir", str(small_data), "--trials", "10", "--address", cluster.address]
    # None is stopped early, so that no worker is through with all before the other has started.
    search = start(tmp_path, *options, "--scheduler", "fifo", extra=cluster.environment)
    seen: list[set[int]] = [set(), set()]
    deadline = time.monotonic() + 250
    while search.poll() is None and time.monotonic() < deadline:
        for found, known in zip(cluster.workers(), seen, strict=True):
            known |= found
        time.sleep(0.2)
    _, err = finish(search, 0)
    assert all(seen), "each node has trained"
    assert "cluster of 2 nodes: cpu" in err
    assert "2 at a time" in err
    assert_nothing_runs(tmp_path)
    with open_database(f"sqlite:///{tmp_path}/fmnist_search.db", create=False) as database:
        check_no_repeats(check_study(database, STUDY, 10))
        nodes = database.open_study(STUDY).launches.all()[0].environment["nodes"]
    assert [node["cpus"] for node in nodes] == [1.0, 1.0]


def test_a_wrong_token_is_refused_in_a_line(
    cluster: Cluster, tmp_path: Path, small_data: Path
) -> None:
    options = ["--data-dir", str(small_data), "--trials", "1", "--address", cluster.address]
    wrong = {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
    _, err = finish(start(tmp_path, *options, extra=wrong), 3)
    assert err.count("\n") == 1
    assert "Ray did not start" in err
    assert list(tmp_path.iterdir()) == []
