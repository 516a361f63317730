r"""What happens to a search when something breaks: real faults, real processes, one table.

    python -m benchmarks.robustness.faults                 # all; about half an hour on two cores
    python -m benchmarks.robustness.faults F2 F12          # some
    python -m benchmarks.robustness.faults --out results   # where faults.md and faults.json go

Those that need Ray are made here, to the whole program or to its engine on real Ray; the others are
the test suite's, which makes them in real processes too and is started here by file. Every study is
checked by tests/search/checker.py. faults.md ends with doors.md: what may come in from outside,
where, and which test holds what happens then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from storage import EpochRow, StudyStore, open_database
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import STUDY as MADE_UP
from tests.search.programs import AGENTS, assert_nothing_runs, finish, start, wait_for
from tests.small_data import write_small_data

ROOT = Path(__file__).resolve().parents[2]
DOORS = Path(__file__).with_name("doors.md")
States = dict[str, int]


@dataclass
class Outcome:
    """What was done, where the study stood just after it and at the end, and what was lost.

    An epoch is lost when the trial that goes on has to train it again; a trial when neither it nor
    one that repeats it was finished.
    """

    what: str
    before: States = field(default_factory=dict)
    after: States = field(default_factory=dict)
    trials_lost: int | None = None
    epochs_lost: int | None = None
    remark: str = ""


class Search:
    """Runs of the whole program on one study, in a folder of its own."""

    def __init__(self, folder: Path, trials: int, *options: str, seconds: float = 600) -> None:
        self.folder, self.trials, self.seconds = folder, trials, seconds
        self.data = write_small_data(folder / "data")
        self.options = [*("--data-dir", str(self.data)), *("--trials", str(trials)), *options]

    def start(self) -> subprocess.Popen[str]:
        """A driver, at its first epoch."""
        driver = start(self.folder, *self.options)
        wait_for(driver, "epoch 1/2")
        return driver

    def finish(self, driver: subprocess.Popen[str] | None = None, status: int = 0) -> str:
        """A driver, run to its end: its output on stderr."""
        driver = driver or start(self.folder, *self.options)
        return finish(driver, status, self.seconds)[1]

    def url(self) -> str:
        """The study's database."""
        return f"sqlite:///{self.folder}/fmnist_search.db"

    def outcome(self, what: str, before: States, remark: str = "") -> Outcome:
        """Check the finished study."""
        assert_nothing_runs(self.folder, seconds=60, apart_from=AGENTS)
        return concluded(self.url(), "quick", self.trials, what, before, remark)


def states(url: str, study: str = "quick") -> States:
    """How many trials of a study are in each state."""
    with open_database(url, create=False) as database:
        return database.open_study(study).counts()


def concluded(
    url: str, study: str, trials: int, what: str, before: States, remark: str = ""
) -> Outcome:
    """Check a finished study with the suite's checker, and count what was lost."""
    with open_database(url, create=False) as database:
        found = check_study(database, study, trials)
        check_no_repeats(found)
        repeated = {t.user_attrs["retry_of"] for t in found if "retry_of" in t.user_attrs}
        failed = {t.number for t in found if t.state.name == "FAIL"}
        lost = epochs_lost(database.open_study(study))
    return Outcome(what, before, states(url, study), len(failed - repeated), lost, remark)


def epochs_lost(store: StudyStore) -> int:
    """Epochs that were trained again by the trials that repeat others."""
    rows: dict[int, list[EpochRow]] = {}
    for row in store.epochs():
        rows.setdefault(row.number, []).append(row)
    lost = 0
    for number, retried in store.retries().items():
        kept = {(row.epoch, row.seconds) for row in rows.get(number, [])}
        before = rows.get(retried, [])
        lost += sum((row.epoch, row.seconds) not in kept for row in before)
    return lost


def killed_driver(folder: Path) -> Outcome:
    """F2."""
    search, before = Search(folder, 12), {}
    for _ in range(3):
        driver = search.start()
        driver.kill()
        driver.communicate()
        began = time.monotonic()
        assert_nothing_runs(folder, seconds=60, apart_from=AGENTS)
        gone = time.monotonic() - began
        before = states(search.url())
    search.finish()
    what = "SIGKILL of the driver at an epoch's end, three times; then run to its end"
    return search.outcome(what, before, f"all processes gone {gone:.0f} s after the last kill")


def signalled(folder: Path, kind: signal.Signals) -> Outcome:
    """F4, F5."""
    search = Search(folder, 6)
    driver = search.start()
    for _ in range(2):
        driver.send_signal(kind)
    began = time.monotonic()
    search.finish(driver, 128 + kind)
    took = time.monotonic() - began
    before = states(search.url())
    assert "RUNNING" not in before
    search.finish()
    what = f"{kind.name} twice at once while trials run; then run to its end"
    return search.outcome(what, before, f"exit {128 + kind} after {took:.1f} s")


def faulty_workers(folder: Path) -> Outcome:
    """F7, F8, F12."""
    return made_up(
        folder,
        "Faulty",
        24,
        "eight trials: raise (in the worker's care and outside), SIGKILL themselves, exit, sleep, "
        "compute in C, report NaN, report nothing",
    )


def slow_teardown(folder: Path) -> Outcome:
    """F28."""
    return made_up(folder, "SlowToLetGo", 8, "workers take 2.5 s to let go of each trial")


def made_up(folder: Path, worker: str, trials: int, what: str) -> Outcome:
    """The engine on real Ray, with workers that train nothing."""
    url = f"sqlite:///{folder}/search.db"
    command = [sys.executable, "-m", "tests.search.ray_loop", url, str(trials), worker]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600)
    return concluded(url, MADE_UP, trials, what, {})


def two_drivers(folder: Path) -> Outcome:
    """F21 on the real stack."""
    search = Search(folder, 8)
    first = search.start()
    second = start(folder, *search.options)
    before = states(search.url())
    search.finish(first)
    search.finish(second)
    return search.outcome("two drivers on one SQLite file at once", before)


def in_tests(*names: str) -> Callable[[Path], Outcome]:
    """Faults that the test suite makes in real processes: passed or failed as its tests are.

    `names` are pytest's arguments; those marked long are among them.
    """
    missing = [name for name in names if name.startswith("tests/") and not (ROOT / name).exists()]
    assert not missing, missing

    def run(folder: Path) -> Outcome:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "", *names]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        last = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]
        assert done.returncode == 0, last
        return Outcome(f"pytest {' '.join(names)}", remark=last.strip("= "))

    return run


TESTS = "tests/search"
FAULTS: dict[str, Callable[[Path], Outcome]] = {
    "F1": in_tests(f"{TESTS}/trials/test_killed_driver.py"),
    "F2": killed_driver,
    "F3": in_tests(f"{TESTS}/trials/test_deaths.py", "-k", "some_calls"),
    "F4": lambda folder: signalled(folder, signal.SIGINT),
    "F5": lambda folder: signalled(folder, signal.SIGTERM),
    "F6": in_tests(f"{TESTS}/trials/test_many_drivers.py", "-k", "stopped_beyond"),
    "F7, F8, F12": faulty_workers,
    "F9": in_tests(f"{TESTS}/trials/test_retry_chain.py", "-k", "every_trial_fails"),
    "F10, F11, F19, F20": in_tests(
        f"{TESTS}/workers/test_worker.py",
        f"{TESTS}/workers/test_worker_faults.py",
        f"{TESTS}/workers/test_checkpoints.py",
        "tests/models/compute/test_memory.py",
    ),
    "F13, F14, F15, F16": in_tests(f"{TESTS}/trials/test_database_outage.py"),
    "F18": in_tests(
        *(
            f"{TESTS}/trials/test_retry_chain.py",
            f"{TESTS}/workers/test_checkpoints.py",
            f"{TESTS}/trials/test_database_outage.py",
        ),
        *("tests/storage", "-k", "full or nearly_full or no_room"),
    ),
    "F21": two_drivers,
    "F21 without Ray": in_tests(
        f"{TESTS}/trials/test_many_drivers.py", "-k", "drivers and not minute"
    ),
    "F22": in_tests(f"{TESTS}/trials/test_many_drivers.py", "-k", "clock"),
    "F23": in_tests(f"{TESTS}/trials/test_study.py"),
    "F24, F17": in_tests("tests/storage"),
    "F25, F26": in_tests("tests/search/cli/test_options.py", "tests/search/cli/test_files.py"),
    "F27": in_tests(f"{TESTS}/trials/test_many_drivers.py", "-k", "minute"),
    "F28": slow_teardown,
    "F29": in_tests(f"{TESTS}/results/test_export.py", "tests/models/final/test_train_killed.py"),
}


def run(name: str) -> dict[str, object]:
    """Make one fault; a row of the table."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            outcome, verdict = FAULTS[name](Path(folder)), "holds"
        except Exception as error:  # a fault that is not survived is what this is to show
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            outcome, verdict = Outcome((FAULTS[name].__doc__ or name).strip()), f"fails: {first}"
    row = {"fault": name, **asdict(outcome), "verdict": verdict}
    return {**row, "seconds": round(time.monotonic() - began, 1)}


def table(rows: Sequence[dict[str, object]], about: str) -> str:
    """The rows as Markdown."""
    lines = [
        "# Faults",
        "",
        f"Made by `python -m benchmarks.robustness.faults`. {about}",
        "",
        "| fault | what was done | just after it | at the end "
        "| trials lost | epochs lost | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["fault"], row["what"], _words(row["before"]), _words(row["after"])]
        cells += ["" if row[key] is None else row[key] for key in ("trials_lost", "epochs_lost")]
        cells.append(f"{row['verdict']}; {row['remark']}" if row["remark"] else row["verdict"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _words(found: object) -> str:
    assert isinstance(found, dict)
    return ", ".join(f"{n} {state}" for state, n in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help="numbers, e.g. F2 F12 (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    options = parser.parse_args()
    wanted = [
        name for name in FAULTS if not options.faults or set(name.split(", ")) & set(options.faults)
    ]
    rows = []
    for name in wanted:
        rows.append(run(name))
        print(json.dumps(rows[-1]), flush=True)
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "torch"))
    about = f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}; one run each."
    options.out.mkdir(exist_ok=True)
    (options.out / "faults.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "faults.md").write_text(f"{table(rows, about)}\n{DOORS.read_text()}")
    sys.exit(any(row["verdict"] != "holds" for row in rows))


if __name__ == "__main__":
    main()
