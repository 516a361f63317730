r"""What the search itself costs, beside the training: seconds a trial, and CPU time of the driver.

    python -m benchmarks.speed.search_cost --out results/search_cost.json [launch size driver]

launch: 200 trials of `quick`'s parameters that train nothing, up to 27 epochs each, two at a
time on real Ray with everything in SQLite: seconds of the whole command, and beyond 15 seconds of
start and stop for each trial. size: seconds of a trial (asked for, reported, told; without Ray) in
a study of 5,000 against one of 200. driver: its CPU time, as a share of one core, while 8 workers
report an epoch every three seconds. Sampler and scheduler are the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from benchmarks.accuracy.main_job import database_facts
from benchmarks.report import machine
from benchmarks.speed.load import fill
from storage import open_database
from tests.search.loop import drive, open_session

ROOT = Path(__file__).resolve().parents[2]
TRIALS, EPOCHS, START_SECONDS = 200, 27, 15.0
SIZES, MEASURED = (200, 5000), 30
WORKERS, DRIVER_TRIALS = 8, 40


def on_ray(folder: Path, trials: int, worker: str, concurrency: int) -> dict[str, Any]:
    """A whole search on real Ray: seconds of the command, of its trials, and the driver's CPU."""
    path = folder / "search.db"
    command = [sys.executable, "-m", "tests.search.ray_loop", f"sqlite:///{path}", str(trials)]
    start = time.monotonic()
    done = subprocess.run(
        [*command, worker, str(EPOCHS), str(concurrency)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    whole = time.monotonic() - start
    searching, cpu = map(float, done.stdout.split()[-2:])
    facts = database_facts(path)
    return {
        "states": facts["states"],
        "epochs": facts["epoch_rows"],
        "command_seconds": round(whole, 2),
        "search_seconds": round(searching, 2),
        "driver_cpu_seconds": round(cpu, 2),
    }


def launch(folder: Path) -> dict[str, Any]:
    """200 trials from command to exit."""
    found = on_ray(folder, TRIALS, "MadeUp", 2)
    beyond = (found["command_seconds"] - START_SECONDS) / TRIALS
    return {**found, "seconds_a_trial_beyond_15": round(beyond, 3)}


def driver(folder: Path) -> dict[str, Any]:
    """CPU of the driver beside eight workers."""
    found = on_ray(folder, DRIVER_TRIALS, "Patient", WORKERS)
    return {
        **found,
        "share_of_a_core": round(found["driver_cpu_seconds"] / found["search_seconds"], 3),
    }


def size(folder: Path) -> dict[str, Any]:
    """Median seconds of a trial in a small and in a large study."""
    found = {}
    for trials in SIZES:
        path = folder / f"{trials}.db"
        with open_database(f"sqlite:///{path}") as database:
            session = open_session(database, 100, "fifo", "random")
            drive(session)
            session.close("done")
        fill(path, trials)
        found[f"seconds_of_{trials}"] = round(_trial_seconds(path, trials), 4)
    small, large = (found[f"seconds_of_{trials}"] for trials in SIZES)
    return {**found, "ratio": round(large / small, 2)}


def _trial_seconds(path: Path, trials: int) -> float:
    with open_database(f"sqlite:///{path}") as database:
        session = open_session(database, trials + MEASURED, "quota", "curves")
        seconds = []
        while not session.is_done:
            start = time.perf_counter()
            drive(session, at_once=1, epochs=1)
            while session.view().running:
                drive(session, at_once=1, epochs=1)
            seconds.append(time.perf_counter() - start)
        session.close("done")
    return median(seconds)


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "launch": launch,
    "size": size,
    "driver": driver,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.parts:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            result[name] = PARTS[name](Path(folder))
        print(name, json.dumps(result[name]), flush=True)
        result["machine"] = machine(["ray", "optuna", "sqlalchemy"])
        result["command"] = "python -m benchmarks.speed.search_cost"
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
