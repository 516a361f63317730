"""SIGKILL of a driver at random moments: started again, the study comes out whole."""

import random
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from storage import open_database
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import STUDY, acknowledged, start_driver

PAUSE_SECONDS = 0.05
"""Before each epoch: on however fast a machine a driver that is killed has done five of them at
most, and twelve trials have 28 or more, as two known-good points run all of their nine."""


def kill_in_the_middle(url: str, trials: int, folder: Path, wait: float) -> bool:
    """Start a driver and kill it some time after its first epoch; whether it was still at work."""
    before = len(acknowledged(folder))
    driver = start_driver(url, trials, folder, pause_seconds=PAUSE_SECONDS)
    while len(acknowledged(folder)) == before and driver.is_alive():
        time.sleep(0.01)
    time.sleep(wait)
    driver.kill()
    driver.join()
    return driver.exitcode == -9


def check_after_kills(url: str, trials: int, kills: int, folder: Path) -> None:
    draw = random.Random(time.time_ns())
    for _ in range(kills):
        assert kill_in_the_middle(url, trials, folder, draw.uniform(0.0, 4 * PAUSE_SECONDS))
    last = start_driver(url, trials, folder)
    last.join()
    assert last.exitcode == 0
    with open_database(url) as database:
        found = check_study(database, STUDY, trials, acknowledged=acknowledged(folder))
        check_no_repeats(found)
        outcomes = [launch.outcome for launch in database.open_study(STUDY).launches.all()]
        assert database.open_study(STUDY).epoch_count() <= sum(
            len(t.intermediate_values) for t in found
        )
    assert outcomes == [None] * kills + ["done"]
    assert sum(t.state == TrialState.FAIL for t in found) <= 2 * kills
    # What went on did so from the last epoch that was acknowledged, or from one after it.
    for trial in found:
        parent = trial.user_attrs.get("retry_of")
        if parent is not None and trial.intermediate_values:
            assert trial.last_step >= (found[parent].last_step or 0)


def test_killed_three_times_a_study_still_comes_to_its_exact_total(
    either_url: str, tmp_path: Path
) -> None:
    check_after_kills(either_url, 12, 3, tmp_path / "search")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_twenty_times(either_url: str, tmp_path: Path) -> None:
    check_after_kills(either_url, 100, 20, tmp_path / "search")
