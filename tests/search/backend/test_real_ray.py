"""The whole program as its user runs it: real Ray, real training, real signals."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

import run_search
from fmnist_models.config.files import parse_config
from storage import open_database
from tests.search.checker import check_no_repeats, check_study
from tests.search.programs import (
    AGENTS,
    OPTIONS,
    assert_nothing_runs,
    finish,
    start,
    wait_for,
)

STUDY = "quick"


def check(folder: Path, trials: int | None = None, *, ended: bool = True) -> int:
    """Check the study in `folder`; how many of its trials are finished."""
    assert_nothing_runs(folder)
    with open_database(f"sqlite:///{folder}/fmnist_search.db", create=False) as database:
        found = check_study(database, STUDY, trials)
        assert not ended or all(
            launch.ended_at for launch in database.open_study(STUDY).launches.all()
        )
    check_no_repeats(found)
    return sum(t.state.name in ("COMPLETE", "PRUNED") for t in found)


def start_and_signal(folder: Path, kind: signal.Signals, *options: str) -> subprocess.Popen[str]:
    """Start a search and send it a signal, twice at once, as soon as an epoch is trained."""
    search = start(folder, *options)
    wait_for(search, ": validation ")
    search.send_signal(kind)
    search.send_signal(kind)
    return search


def interrupt_in_the_middle(folder: Path, kind: signal.Signals, *options: str) -> None:
    """Signal a search; it ends in order."""
    _, err = finish(start_and_signal(folder, kind, *options), 128 + kind, timeout=600)
    assert err.splitlines()[-1] == f"run_search.py: {kind.name}: stopped, everything is saved"
    check(folder)


def outcomes(folder: Path) -> list[str | None]:
    with open_database(f"sqlite:///{folder}/fmnist_search.db") as database:
        return [launch.outcome for launch in database.open_study(STUDY).launches.all()]


@pytest.mark.timeout(1800)
def test_interrupted_then_killed_then_finished(
    tmp_path: Path,
    small_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = ["--data-dir", str(small_data), "--train-samples", "1900", "--trials", "4"]
    interrupt_in_the_middle(tmp_path, signal.SIGINT, *part, "--concurrency", "1")
    start_and_signal(tmp_path, signal.SIGKILL, *part, "--concurrency", "2").communicate()
    assert_nothing_runs(tmp_path, apart_from=AGENTS)

    out, err = finish(start(tmp_path, *part, "--concurrency", "2"), 0)
    assert "left running by a driver that died" in err
    assert "1,900 images to train, " in err
    assert "after epoch 2: all epochs done" in err
    assert_nothing_runs(tmp_path, seconds=70)
    check(tmp_path, 4, ended=False)
    check_conclusion(tmp_path, out)

    monkeypatch.chdir(tmp_path)
    assert run_search.main([*OPTIONS, *part]) == 0
    assert "4 finished trials: nothing to do" in capsys.readouterr().err
    assert outcomes(tmp_path) == ["interrupted", None, "done"]
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


@pytest.mark.timeout(1800)
def test_terminated_and_then_out_of_time(tmp_path: Path, small_data: Path) -> None:
    options = ["--data-dir", str(small_data), "--trials", "2000", "--concurrency", "1"]
    interrupt_in_the_middle(tmp_path, signal.SIGTERM, *options)
    before, began = check(tmp_path), time.monotonic()
    search = start(tmp_path, *options, "--time-budget", "40s")
    search.wait(timeout=1200)
    # 1: on a machine that is very busy no trial may be through all its epochs in that time.
    with open_database(f"sqlite:///{tmp_path}/fmnist_search.db") as database:
        done = database.open_study(STUDY).counts().get("COMPLETE", 0)
    finish(search, 0 if done else 1)
    assert outcomes(tmp_path) == ["interrupted", "time budget spent"]
    after = check(tmp_path)
    assert after < 2000
    # On a machine that is very busy the budget may be spent before a trial is through.
    assert after > before or time.monotonic() - began > 40
