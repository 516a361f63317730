"""The whole program as its user runs it, killed and started again: real Ray, real training.

It is interrupted in test_cluster.py, terminated and out of time in test_security.py: each start of
it takes half a minute.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import run_search
from fmnist_models.config.files import parse_config
from tests.search.programs import (
    AGENTS,
    OPTIONS,
    assert_nothing_runs,
    check_rest,
    finish,
    outcomes,
    signal_twice,
    start,
    wait_for,
)


@pytest.fixture(scope="session")
def empty_at_last() -> Iterator[list[Path]]:
    """Take folders in which nothing may run any more when all tests are through."""
    folders: list[Path] = []
    yield folders
    for folder in folders:
        assert_nothing_runs(folder, seconds=70)


@pytest.mark.timeout(1800)
def test_killed_then_finished(
    tmp_path: Path,
    small_data: Path,
    empty_at_last: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = ["--data-dir", str(small_data), "--train-samples", "1000", "--trials", "4"]
    search = start(tmp_path, *part, "--concurrency", "2")
    wait_for(search, ": validation ")
    signal_twice(search, signal.SIGKILL)
    search.communicate()
    assert_nothing_runs(tmp_path, apart_from=AGENTS)
    empty_at_last.append(tmp_path)

    out, err = finish(start(tmp_path, *part, "--concurrency", "2"), 0)
    assert "left running by a driver that died" in err
    assert "1,000 images to train, " in err
    assert "after epoch 2: all epochs done" in err
    url = f"sqlite:///{tmp_path}/fmnist_search.db"
    check_rest(tmp_path, url, 4, killed=True)
    check_conclusion(tmp_path, out)

    monkeypatch.chdir(tmp_path)
    assert run_search.main([*OPTIONS, *part]) == 0
    assert "4 finished trials: nothing to do" in capsys.readouterr().err
    assert outcomes(url) == [None, "done"]
    left = {path.name for path in tmp_path.iterdir()} - {"fmnist_search.db.checkpoints"}
    assert left == {"fmnist_search.db", "quick.best.json"}


def check_conclusion(folder: Path, out: str) -> None:
    """Check the summary in the last line of stdout and the file that it names."""
    summary = json.loads(out.splitlines()[-1])
    assert summary["trials"]["COMPLETE"] + summary["trials"]["PRUNED"] == 4
    assert summary["best"]["validation_accuracy"] > 0.15, "it has really learnt"
    exported = (folder / summary["exported"]).read_text()
    assert json.loads(exported)["trial"] == summary["best"]["number"]
    assert parse_config(exported).model_dump(mode="json") == summary["best"]["config"]
