r"""Load without Ray: a large study (L1), many drivers (L3), with faults (L4), memory (L6).

    python -m benchmarks.speed.load --out results/load.json
    python -m benchmarks.speed.load L1 --trials 2000  # smaller; others take --trials too

L1: 10,000 trials of 9 epochs in one SQLite file; what it takes to open, ask, tell, show, export,
report, and what the dashboard's page of it takes.
L3: 8 drivers on one PostgreSQL, 480 trials in all. L4: the same with 15 SIGKILLs (each driver is
started again), 3 SIGSTOPs beyond the lease, and a restart of the server. L6: memory of one driver
over 2,000 trials.
Trials train nothing; the rest is the real engine and the real database.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil

from benchmarks.speed.dashboard import dashboard_figures
from search.display.dashboard import pages
from search.trials.session import SearchSession
from storage import open_database
from tests.postgresql import new_database, new_postgresql_server
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import (
    EPOCHS,
    LIMITS,
    STUDY,
    acknowledged,
    curve,
    drive,
    metrics,
    open_session,
    start_driver,
)

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = 40
DRIVERS = 8
ASKS = 30
COPIED = (
    *("trials", "trial_params", "trial_values", "trial_intermediate_values"),
    *("trial_user_attributes", "search_trial", "search_epoch", "search_decision"),
)
COUNTED_KEYS = (
    *("param_id", "trial_value_id", "trial_intermediate_value_id", "trial_user_attribute_id"),
)
"""Of the tables of a trial, the columns that the database counts up by itself."""


def rss_bytes() -> int:
    """The memory of this process."""
    return int(psutil.Process().memory_info().rss)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """How many seconds a call took, and its result."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The median and the 95th percentile."""
    return {
        "median_seconds": float(np.median(seconds)),
        "p95_seconds": float(np.percentile(seconds, 95)),
    }


def large_study(folder: Path, trials: int) -> dict[str, Any]:
    """L1."""
    path = folder / "large.db"
    url = f"sqlite:///{path}"
    with open_database(url) as database:
        session = open_session(database, PATTERNS, "fifo", "random")
        drive(session)
        session.close("done")
    fill(path, trials)
    with open_database(url) as database:
        opening, session = timed(lambda: open_session(database, trials + ASKS + 1, "asha"))
        figures = asks(session)
        session.close("done")
    figures["open_seconds"] = opening
    figures["driver_memory_bytes"] = rss_bytes()
    for name, file in (("status", ""), ("export", "best.json"), ("report", "report.html")):
        extra = ["--out", str(folder / file)] if file else []
        command = [sys.executable, "-m", "search", name, "--storage", url, "--study", STUDY, *extra]
        figures[f"{name}_seconds"], _ = timed(
            lambda command=command: subprocess.run(
                command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL
            )
        )
    with open_database(url, create=False) as database:
        figures |= dashboard_figures(pages(database), trials)
    figures["report_bytes"] = (folder / "report.html").stat().st_size
    return {"trials": trials, **figures}


def fill(path: Path, trials: int) -> None:
    """Repeat the trials of a study, with other values, until it has `trials`."""
    draw = random.Random(0)
    with sqlite3.connect(path) as connection:
        patterns = connection.execute(
            "SELECT trial_id, number FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
        ).fetchall()
        number = connection.execute("SELECT count(*) FROM trials").fetchone()[0]
        first = connection.execute("SELECT max(trial_id) FROM trials").fetchone()[0] + 1
        copies = [
            {
                "id": first + i,
                "number": number + i,
                **dict(zip(("old_id", "old"), patterns[i % len(patterns)], strict=True)),
                "factor": draw.uniform(0.9, 1.0),
                "study": STUDY,
            }
            for i in range(trials - number)
        ]
        for table in COPIED:
            repeat(connection, table, copies)


def repeat(connection: sqlite3.Connection, table: str, copies: list[dict[str, Any]]) -> None:
    """The rows of each copied trial in one table, of Optuna's or of ours, which goes by number."""
    new = {"trial_id": ":id", "number": ":number"}
    noisy = ("value", "intermediate_value", "val_accuracy")  # equal wherever they are kept
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    names = [name for name in names if name not in COUNTED_KEYS]
    chosen = [new.get(name) or (f"{name} * :factor" if name in noisy else name) for name in names]
    key = "study_name = :study AND number = :old" if "study_name" in names else "trial_id = :old_id"
    connection.executemany(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(chosen)} FROM {table}"
        f" WHERE {key}",
        copies,
    )


def asks(session: SearchSession) -> dict[str, Any]:
    """Ask for trials and report all their epochs: what each takes."""
    asked, told = [], []
    for _ in range(ASKS):
        seconds, started = timed(session.next_trial)
        asked.append(seconds)
        for epoch in range(1, EPOCHS + 1):
            reported = metrics(epoch, curve(started.config.seed, epoch))
            seconds, status = timed(partial(session.report, started.number, reported))
            told.append(seconds)
            if status.ended:
                break
    return {"first_ask_seconds": asked[0], "ask": percentiles(asked[1:]), "tell": percentiles(told)}


def eight_drivers(folder: Path, trials: int) -> dict[str, Any]:
    """L3."""
    with new_postgresql_server() as server:
        url, place = new_database(server.uri), folder / "drivers"

        def run() -> list[int | None]:
            drivers = [start_driver(url, trials, place) for _ in range(DRIVERS)]
            for driver in drivers:
                driver.join()
            return [driver.exitcode for driver in drivers]

        seconds, statuses = timed(run)
        with open_database(url) as database:
            found = check_study(database, STUDY, trials)
            check_no_repeats(found)
    return {
        "drivers": DRIVERS,
        "exit_statuses": statuses,
        "finished": trials,
        "trials_in_all": len(found),
        "seconds": seconds,
        "trials_per_second": trials / seconds,
    }


def broken_drivers(folder: Path, trials: int) -> dict[str, Any]:
    """L4."""
    draw, place = random.Random(4), folder / "drivers"
    faults = ["kill"] * 15 + ["stop"] * 3 + ["restart"]
    draw.shuffle(faults)
    limits = replace(LIMITS, lease_seconds=6.0, outage_seconds=60.0)
    with new_postgresql_server() as server:
        url = new_database(server.uri)

        def begin() -> ForkProcess:
            return start_driver(url, trials, place, limits=limits, pause_seconds=0.02)

        def run() -> list[int | None]:
            drivers = [begin() for _ in range(DRIVERS)]
            while len(acknowledged(place)) < 10 * DRIVERS:
                time.sleep(0.1)
            for fault in faults:
                time.sleep(draw.uniform(0.4, 0.8))
                at_work = [i for i, driver in enumerate(drivers) if driver.is_alive()]
                struck = draw.choice(at_work)
                if fault == "restart":
                    server.stop()
                    time.sleep(1)
                    server.start()
                elif fault == "kill":
                    drivers[struck].kill()
                    drivers[struck].join()
                    drivers[struck] = begin()
                else:
                    stop_for(int(drivers[struck].pid or 0), 1.5 * limits.lease_seconds)
            for i, driver in enumerate(drivers):
                driver.join()
                if driver.exitcode:  # the server was away while it started: started again
                    drivers[i] = begin()
                    drivers[i].join()
            return [driver.exitcode for driver in drivers]

        seconds, statuses = timed(run)
        with open_database(url) as database:
            found = check_study(database, STUDY, trials, acknowledged=acknowledged(place))
            check_no_repeats(found)
    return {
        "drivers": DRIVERS,
        "faults": {fault: faults.count(fault) for fault in sorted(set(faults))},
        "exit_statuses": statuses,
        "finished": trials,
        "trials_in_all": len(found),
        "seconds": seconds,
    }


def stop_for(pid: int, seconds: float) -> None:
    """SIGSTOP a process, and SIGCONT it later."""

    def go_on() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    os.kill(pid, signal.SIGSTOP)
    threading.Timer(seconds, go_on).start()


def memory(folder: Path, trials: int) -> dict[str, Any]:
    """L6."""
    with open_database(f"sqlite:///{folder}/memory.db") as database:
        session, after = open_session(database, trials, "asha", "random"), 0
        started = time.perf_counter()
        while not session.is_done:
            drive(session, epochs=100)
            finished = sum(session.view().counts[state] for state in ("COMPLETE", "PRUNED"))
            if not after and finished >= min(200, trials // 2):
                after = rss_bytes()
        session.close("done")
    return {
        "trials": trials,
        "growth_bytes": rss_bytes() - after,
        "memory_bytes": rss_bytes(),
        "seconds_a_trial": (time.perf_counter() - started) / trials,
    }


MEASURES = {
    "L1": (large_study, 10_000),
    "L3": (eight_drivers, 480),
    "L4": (broken_drivers, 480),
    "L6": (memory, 2_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(MEASURES)} (default: all)")
    parser.add_argument("--trials", type=int, help="instead of each measure's own number")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    result: dict[str, Any] = {}
    for name in options.which or MEASURES:
        measure, trials = MEASURES[name]
        with tempfile.TemporaryDirectory() as folder:
            result[name] = measure(Path(folder), options.trials or trials)
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    result["machine"] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{p: version(p) for p in ("optuna", "sqlalchemy", "psycopg")},
    }
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
