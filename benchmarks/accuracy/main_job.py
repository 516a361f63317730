r"""A whole search as a user starts it, measured from outside: time, memory, trials, states.

    python -m benchmarks.accuracy.main_job --out results/quick.json -- --space quick --trials 12
    python -m benchmarks.accuracy.main_job --out results/wrn.json -- --space wrn --trials 200 \
        --time-budget 30m
    python -m benchmarks.accuracy.main_job --train 20 --out ... -- ...   # then trains 20 epochs

Runs in a temporary folder with a database of its own. Memory is the sum of the proportional set
sizes (PSS: shared pages counted once) of the driver and everything below it, sampled every second.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import machine

ROOT = Path(__file__).resolve().parents[2]


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """Run `command` in `folder` to its end: exit status, seconds, peak memory, last output."""
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_memory(psutil.Process(process.pid)))
            time.sleep(5)  # reading PSS costs tens of milliseconds a process
        output = process.stdout.read() if process.stdout else ""
    return {
        "exit_status": process.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_bytes": peak,
        "output": output.strip().splitlines(),
    }


def tree_memory(process: psutil.Process) -> int:
    """Bytes of PSS of a process and all below it; those that end meanwhile count nothing."""
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in members:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def database_facts(path: Path) -> dict[str, Any]:
    """What the database says after the run, by plain SQL."""
    with sqlite3.connect(path) as connection:
        states = dict(connection.execute("select state, count(*) from trials group by state"))
        epochs = connection.execute("select count(*) from search_epoch").fetchone()[0]
        decisions = connection.execute("select count(*) from search_decision").fetchone()[0]
        values = connection.execute("select count(*) from trial_intermediate_values").fetchone()[0]
        best = connection.execute(
            "select max(value) from trial_values join trials using (trial_id)"
            " where state = 'COMPLETE'"
        ).fetchone()[0]
        unvalued = connection.execute(
            "select count(*) from trials where state = 'PRUNED' and trial_id not in"
            " (select trial_id from trial_intermediate_values)"
        ).fetchone()[0]
    return {
        "states": states,
        "epoch_rows": epochs,
        "intermediate_values": values,
        "decision_rows": decisions,
        "best_validation_accuracy": best,
        "pruned_without_value": unvalued,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, help="final training for so many epochs, 0: as found")
    parser.add_argument("arguments", nargs="+", help="of run_search.py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, str(ROOT / "run_search.py"), *options.arguments]
        result: dict[str, Any] = {
            "command": ["python", "run_search.py", *options.arguments],
            "search": measured(command, folder),
            "database": database_facts(folder / "fmnist_search.db"),
        }
        if options.train is not None:
            result["train"] = train(folder, options.train)
    result["machine"] = machine()
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def train(folder: Path, epochs: int) -> dict[str, Any]:
    """Final training of the exported configuration, with what metrics.json says at the end."""
    exported = next(folder.glob("*.best.json"))
    command = ["train", exported.name, "--out", "model"]
    command += ["--epochs", str(epochs)] if epochs else []
    run = measured([sys.executable, "-m", "fmnist_models", *command], folder)
    metrics = json.loads((folder / "model" / "metrics.json").read_text())
    kept = ("test_accuracy", "test_interval", "test_readings", "train_seconds", "environment")
    return {
        "command": ["python", "-m", "fmnist_models", *command],
        **run,
        **{name: metrics[name] for name in kept},
        "config": json.loads((folder / "model" / "config.json").read_text()),
    }


if __name__ == "__main__":
    main()
