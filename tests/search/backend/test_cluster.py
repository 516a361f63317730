"""A search on a cluster of two real Ray nodes: code and data reach them, both train."""

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import open_database
from tests.search.programs import (
    STUDY,
    check_rest,
    finish,
    finish_signalled,
    outcomes,
    start,
    wait_for,
)
from tests.search.two_nodes import Cluster, two_nodes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Give a cluster of two nodes with a core each."""
    with (
        tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as name,
        two_nodes(Path(name)) as found,
    ):
        yield found


@pytest.mark.timeout(1800)
def test_a_search_runs_on_both_nodes_until_it_is_interrupted(
    cluster: Cluster, tmp_path: Path, small_data: Path
) -> None:
    options = ["--data-dir", str(small_data), "--trials", "2000", "--address", cluster.address]
    search = start(tmp_path, *options, extra=cluster.environment)
    said = wait_for(search, ": validation ")
    assert "cluster of 2 nodes: cpu" in said
    assert "2 at a time" in said
    seen: list[set[int]] = [set(), set()]
    while not all(seen):
        assert search.poll() is None
        for found, known in zip(cluster.workers(), seen, strict=True):
            known |= found
        time.sleep(0.1)
    finish_signalled(search, signal.SIGINT)
    url = f"sqlite:///{tmp_path}/fmnist_search.db"
    check_rest(tmp_path, url)
    assert outcomes(url) == ["interrupted"]
    with open_database(url, create=False) as database:
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
