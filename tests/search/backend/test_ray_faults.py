"""Trials that go wrong in real Ray workers: each is ended and named, and the search goes on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.trial import FrozenTrial

from storage import Database, open_database
from tests.conftest import ROOT
from tests.search.checker import check_study
from tests.search.loop import STUDY
from tests.search.made_up_faults import faults_taken


@contextmanager
def searched(
    folder: Path, trials: int, worker: str
) -> Iterator[tuple[Database, list[FrozenTrial]]]:
    """Run a search with such workers to its total; its database and its trials, checked."""
    url = f"sqlite:///{folder}/search.db"
    command = [sys.executable, "-m", "tests.search.ray_loop", url, str(trials), worker]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    with open_database(url) as database:
        yield database, check_study(database, STUDY, trials)


def test_trials_go_wrong_and_the_others_do_not_notice(tmp_path: Path) -> None:
    with searched(tmp_path, 24, "Faulty") as (database, trials):
        failed = [t.number for t in trials if t.state.name == "FAIL"]
        reasons = faults_taken(tmp_path / "faults")
        assert failed == sorted(reasons)
        for number, reason in reasons.items():
            assert reason in database.open_study(STUDY).trial_record(number).reason


def test_a_slow_teardown_loses_no_trial(tmp_path: Path) -> None:
    with searched(tmp_path, 8, "SlowToLetGo") as (_, trials):
        assert len(trials) == 8
