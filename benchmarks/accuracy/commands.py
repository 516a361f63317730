"""The product's commands as a user types them, for benchmarks of whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine
from fmnist_models.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
MOST_EPOCHS = 10_000
"""More than fit into any time here."""
SPARE_MINUTES = 0.75
"""Of the time given: for the test set, and for what `--max-minutes` may be wrong by."""


def run(arguments: Sequence[str], folder: str) -> str:
    """Run Python with `arguments` in `folder`, our programs by their names; its standard output."""
    program, *rest = arguments
    if program.endswith(".py"):
        program = str(ROOT / program)
    done = subprocess.run(
        [sys.executable, program, *rest],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def trained(folder: Path) -> dict[str, Any]:
    """What a trained model came to, of which the test set was read once."""
    reading = json.loads((folder / "metrics.json").read_text())["test_readings"][-1]
    config = json.loads((folder / "config.json").read_text())
    members = config.get("members", [config])
    return {
        "right": reading["correct"],
        "test_images": reading["images"],
        "final_epochs": [member["epochs"] for member in members],
        "config": members[0],
    }


def keep(
    out: Path,
    content: dict[str, Any],
    name: str,
    one: dict[str, Any],
    report: Callable[[dict[str, dict[str, Any]]], str],
) -> None:
    """Add a run to OUT.json and OUT.md, with the command, the machine and the versions."""
    program = Path(sys.argv[0]).stem
    one["command"] = f"python -m benchmarks.accuracy.{program} {' '.join(sys.argv[1:])}"
    content["runs"][name] = one
    content["machine"] = machine(["torch", "torchvision", "ray", "optuna"])
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(out.with_suffix(".json"), text.encode())
    write_atomically(out.with_suffix(".md"), report(content["runs"]).encode())
    print(name, one, flush=True)
