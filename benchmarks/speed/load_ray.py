r"""Load: many open trials on one PostgreSQL (L2), and real Ray with trials that train nothing (L5).

    python -m benchmarks.speed.load_ray --out results/load_ray.json

L2: 8 processes hold 25 trials each and report an epoch a second of each, for half a minute; every
report must be kept. L5: 60 trials of up to 9 epochs on warm workers, two at a time; the rate counts
from the start of Ray Tune to its end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from storage import open_database
from tests.postgresql import new_database, new_postgresql_server
from tests.search.checker import check_study
from tests.search.loop import STUDY, curve, metrics, open_session

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, OPEN_TRIALS, REPORTS = 8, 25, 30
TRIALS = 60


def open_at_once(folder: Path) -> dict[str, Any]:
    """L2."""
    with new_postgresql_server() as server:
        url = new_database(server.uri)
        with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
            found = pool.map(report_every_second, [url] * PROCESSES)
        with open_database(url) as database:
            check_study(database, STUDY, PROCESSES * OPEN_TRIALS)
            kept = len(database.open_study(STUDY).epochs())
    seconds = [latency for latencies in found for latency in latencies]
    return {
        "reports": len(seconds),
        "kept": kept,
        "errors": PROCESSES * OPEN_TRIALS * REPORTS - kept,
        "seconds_median": round(float(np.median(seconds)), 4),
        "seconds_p95": round(float(np.percentile(seconds, 95)), 4),
    }


def report_every_second(url: str) -> list[float]:
    """A driver with its trials: seconds that each report took."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_database(url) as database:
        total = PROCESSES * OPEN_TRIALS
        session = open_session(database, total, "fifo", "random", epochs=REPORTS)
        started = [session.next_trial() for _ in range(OPEN_TRIALS)]
        for number, live in list(session._live.items()):  # none is to end before its last epoch
            patient = live.config.model_copy(update={"patience": 0})
            session._live[number] = replace(live, config=patient)
        latencies = []
        for epoch in range(1, REPORTS + 1):
            ends = time.monotonic() + 1
            for trial in started:
                assert trial is not None
                value = metrics(epoch, curve(trial.config.seed, epoch))
                began = time.monotonic()
                session.report(trial.number, value)
                latencies.append(time.monotonic() - began)
                session.heartbeat()
            time.sleep(max(0.0, ends - time.monotonic()))
        session.close("done")
    return latencies


def trials_that_train_nothing(folder: Path) -> dict[str, Any]:
    """L5."""
    url = f"sqlite:///{folder}/search.db"
    command = [sys.executable, "-m", "tests.search.ray_loop", url, str(TRIALS), "MadeUp"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    with open_database(url) as database:
        trials = check_study(database, STUDY, TRIALS)
    seconds = float(done.stdout.split()[-2])
    return {
        "trials": TRIALS,
        "failed": sum(trial.state.name == "FAIL" for trial in trials),
        "seconds": round(seconds, 2),
        "trials_per_second": round(TRIALS / seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    result: dict[str, Any] = {"command": ["python", "-m", "benchmarks.speed.load_ray"]}
    for name, measure in (("L2", open_at_once), ("L5", trials_that_train_nothing)):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            result[name] = measure(Path(folder))
        print(name, json.dumps(result[name]), flush=True)
    result["machine"] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{p: version(p) for p in ("ray", "optuna", "sqlalchemy")},
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
