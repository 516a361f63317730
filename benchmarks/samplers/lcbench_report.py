"""The tables of `lcbench.py` out of what it kept."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.report import table
from benchmarks.samplers.lcbench_simulation import BUDGETS
from benchmarks.samplers.lcbench_surrogate import EPOCHS


def shares(runs: list[dict[str, Any]], tasks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By method and task the regrets in units of the task's, one row a seed."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        task = tasks[run["task"]]
        row = [(task["best"] - value) / task["unit"] for value in run["values"]]
        found.setdefault(run["method"], {}).setdefault(run["task"], {})[run["seed"]] = row
    return found


def report(content: dict[str, Any]) -> str:
    """Three tables: over all tasks, by task after the last budget, and rank correlations."""
    tasks = content["tasks"]
    of_methods = shares(content["runs"], tasks)
    ranks = [[task, *(f"{r:.2f}" for r in of["rank_correlation"])] for task, of in tasks.items()]
    budgets = [f"after {budget}" for budget in BUDGETS]
    parts = [
        f"Normalised regret, mean and standard error over seeds, of {len(tasks)} tasks; the "
        "launch of a method is told below",
        table(
            ["method", *budgets, "CPU s a run", "most", "seeds", "launch"],
            [_over_all(name, content, of_tasks) for name, of_tasks in of_methods.items()],
        ),
        _launches(content),
        f"By task, after {BUDGETS[-1]} full trainings",
        table(["method", *tasks], [_by_task(n, of, list(tasks)) for n, of in of_methods.items()]),
        f"Rank correlation of an epoch's value with that of epoch {EPOCHS}, 500 random draws",
        table(["task", "epoch 1", "epoch 3", "epoch 9", "epoch 27"], ranks),
    ]
    return "\n\n".join(parts) + "\n"


def _over_all(name: str, content: dict[str, Any], of_tasks: dict[str, Any]) -> list[object]:
    """A method's row: only seeds that were run on all tasks count."""
    whole = len(of_tasks) == len(content["tasks"])
    seeds = sorted(set.intersection(*map(set, of_tasks.values()))) if whole else []
    means = np.array([[rows[s] for s in seeds] for rows in of_tasks.values()]).mean(axis=0)
    cells = [_cell(column) for column in means.T] if seeds else [""] * len(BUDGETS)
    runs = [run for run in content["runs"] if run["method"] == name]
    cpu = [run["cpu_seconds"] for run in runs]
    launches = sorted({run["launch"] + 1 for run in runs})
    return [
        *(name, *cells, f"{mean(cpu):.1f}", f"{max(cpu):.1f}", len(seeds)),
        ", ".join(map(str, launches)),
    ]


def _by_task(name: str, of_tasks: dict[str, Any], tasks: list[str]) -> list[str]:
    last = [of_tasks.get(task, {}) for task in tasks]
    return [name, *(_cell([row[-1] for row in rows.values()]) for rows in last)]


def _launches(content: dict[str, Any]) -> str:
    """What was typed for the runs in the table, when, and on what."""
    lines = []
    for number, launch in enumerate(content["launches"]):
        about = ", ".join(f"{key} {value}" for key, value in launch["machine"].items())
        if any(run["launch"] == number for run in content["runs"]):
            lines.append(f"{number + 1}. {launch['date']}: `{launch['command']}` ({about})")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if not len(values):
        return ""
    error = f" +- {stdev(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{error}"
