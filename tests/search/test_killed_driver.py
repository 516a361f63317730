"""SIGKILL of a driver at random moments: started again, the study comes out whole."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage import open_database
from tests.conftest import ROOT
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import STUDY

TRIALS = 60
KILLS = 3


def start(url: str, acknowledged: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.search.loop", url, str(TRIALS), str(acknowledged)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def kill_in_the_middle(driver: subprocess.Popen[bytes], acknowledged: Path, wait: float) -> bool:
    """Kill a driver some time after its first epoch; whether it was still at work."""
    size = acknowledged.stat().st_size
    while acknowledged.stat().st_size == size and driver.poll() is None:
        time.sleep(0.005)
    time.sleep(wait)
    driver.send_signal(signal.SIGKILL)
    return driver.wait() == -signal.SIGKILL


@pytest.mark.timeout(150)
def test_killed_three_times_a_study_still_comes_to_its_exact_total(
    url: str, tmp_path: Path
) -> None:
    acknowledged, draw = tmp_path / "acknowledged", random.Random(time.time_ns())
    acknowledged.touch()
    for _ in range(KILLS):
        assert kill_in_the_middle(start(url, acknowledged), acknowledged, draw.uniform(0.0, 0.4))
    assert start(url, acknowledged).wait() == 0
    with open_database(url) as database:
        trials = check_study(database, STUDY, TRIALS)
        check_no_repeats(trials)
        kept = {(e.number, e.epoch): e.val_accuracy for e in database.epochs(STUDY)}
        outcomes = [launch.outcome for launch in database.launches(STUDY)]
    assert outcomes == [None] * KILLS + ["done"]
    for line in acknowledged.read_text().splitlines():
        number, epoch, accuracy = line.split()
        assert kept[int(number), int(epoch)] == float(accuracy)
