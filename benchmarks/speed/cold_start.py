r"""From typing `run_search.py --space quick --trials 12` to the first training step, in seconds.

    python -m benchmarks.speed.cold_start --out results/cold_start.json [--root CHECKOUT]
        [--train-samples N]

A search on real Fashion-MNIST in a folder of its own is started twice: first with nothing kept of
what is measured of the machine, then with what the first one kept. The first step is where the
first epoch to be told of begins: when its line came, less the seconds that it took. Then the search
is stopped. `cpu_seconds` is what all its processes had computed until then: on two cores the start
takes at least half of that. Figures are of a quiet machine only if `load_before` (of the last
minute) is near 0. `--root`: another checkout, to compare with. `--train-samples`: as for a search,
so that its first epoch ends sooner.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from benchmarks.report import machine

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["run_search.py", "--space", "quick", "--trials", "12"]
TOLD = "epoch 1/"
MOST_SECONDS, SAMPLED_EVERY = 170.0, 0.5


def first_step(command: list[str], folder: Path) -> dict[str, Any]:
    """Start a search in `folder` and stop it after an epoch: seconds to its first step."""
    folder.mkdir()
    load, start = os.getloadavg()[0], time.time()
    search = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "FMNIST_SEARCH_MEASURED": str(folder.parent / "measured")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert search.stderr is not None
    said: list[str] = []
    computed: list[tuple[float, float]] = []
    Thread(target=watch, args=(search, start, computed), daemon=True).start()
    try:
        while TOLD not in (line := search.stderr.readline()):
            assert line, "".join(said)
            said.append(line)
        told = time.time() - start
    finally:
        search.send_signal(signal.SIGTERM)
        search.communicate(timeout=MOST_SECONDS)
    epoch = epoch_seconds(folder / "fmnist_search.db")
    began = told - epoch
    return {
        "first_step_seconds": round(began, 1),
        "epoch_seconds": round(epoch, 1),
        "cpu_seconds": round(max(cpu for when, cpu in computed if when <= began), 1),
        "load_before": round(load, 1),
        "figures_kept": any("to measure anew" in line for line in said),
    }


def watch(search: subprocess.Popen[str], start: float, computed: list[tuple[float, float]]) -> None:
    """Note, while the search runs, what it has computed so far."""
    while search.poll() is None:
        with suppress(psutil.Error):
            computed.append((time.time() - start, cpu_seconds(search.pid)))
        time.sleep(SAMPLED_EVERY)


def cpu_seconds(pid: int) -> float:
    """What a process and all below it have computed so far."""
    total, root = 0.0, psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def epoch_seconds(path: Path) -> float:
    """What the first epoch took that was recorded."""
    with sqlite3.connect(path) as connection:
        query = "select seconds from search_epoch where epoch = 1 order by rowid limit 1"
        return float(connection.execute(query).fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to start; this one")
    parser.add_argument("--train-samples", type=int)
    options = parser.parse_args()
    part = ["--train-samples", str(options.train_samples)] if options.train_samples else []
    command = [sys.executable, str(options.root / COMMAND[0]), *COMMAND[1:], *part]
    with tempfile.TemporaryDirectory() as name:
        starts = [first_step(command, Path(name) / run) for run in ("first", "second")]
    result = {
        "command": " ".join(["python", *COMMAND, *part]),
        "nothing_kept": starts[0],
        "kept": starts[1],
        "machine": machine(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
