r"""What samplers and schedulers find in real, conditional spaces, on curves recorded from them.

    python -m benchmarks.samplers.real_spaces results/curves/*.json --out results/real_spaces
        [--seeds 20] [--jobs 2] [--methods tpe+asha curves+asha ...]

The decisions are the product's own, in simulated time with four workers (lcbench_simulation.py);
values are those of trees fitted to recorded curves (spaces_surrogate.py). A method's incumbent is
the COMPLETE trial with the highest last value, as the product exports it; its regret is how many
points what it really reaches, luck aside, lies below the best that any method found. CPU seconds
are those of a whole simulated search, trees included. Known-good
points are left out: with them all methods would begin alike. Files of one space belong together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.report import machine, table
from benchmarks.samplers.lcbench import OPTUNA, OURS
from benchmarks.samplers.lcbench_simulation import Method, OptunaTuner, results
from benchmarks.samplers.spaces_surrogate import CurveForest
from fmnist_models.files import write_atomically

METHODS: dict[str, Callable[[int], Any]] = OURS | OPTUNA
DEFAULT = ["random+fifo", "random+asha", "tpe+asha", "tpe+quota", "curves+asha", "curves+quota"]
BUDGETS = (5, 10, 20, 40)
"""Full trainings."""


@cache
def _forest(files: tuple[Path, ...]) -> CurveForest:
    return CurveForest(files)


def execute(files: tuple[Path, ...], name: str, seed: int) -> dict[str, Any]:
    """One search: what its incumbents reach, how many trials it started, and its CPU time."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    forest, method = _forest(files), METHODS[name]
    assert isinstance(method, Method)
    tuner = replace(method, suggest=forest.suggest, epochs=forest.epochs, grace=1)(seed)
    started, reached = time.process_time(), []
    for used, _ in enumerate(results(tuner, forest), start=1):
        if used in [budget * forest.epochs for budget in BUDGETS]:
            reached.append(_incumbent(tuner, forest))
        if len(reached) == len(BUDGETS):
            break
    return {
        "space": forest.space.name,
        "method": name,
        "seed": seed,
        "reached": reached,
        "trials": len(tuner.study.trials),
        "cpu_seconds": time.process_time() - started,
    }


def _incumbent(tuner: OptunaTuner, forest: CurveForest) -> float:
    """What the best COMPLETE trial reaches; one in ten as long as there is none."""
    trials = tuner.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not trials:
        return 0.1
    best = max(trials, key=lambda trial: trial.values[0])
    return float(forest.last_values([best.params])[0])


def report(content: dict[str, Any]) -> str:
    """A table a space: mean regret in points of accuracy, with its standard error."""
    parts = []
    for space, of_space in content["spaces"].items():
        runs = [run for run in content["runs"] if run["space"] == space]
        best = max(max(run["reached"]) for run in runs)
        rows = []
        for name in dict.fromkeys(run["method"] for run in runs):
            of_method = [run for run in runs if run["method"] == name]
            regrets = 100 * (best - np.array([run["reached"] for run in of_method]))
            cells = [_cell(column) for column in regrets.T]
            trials = mean(run["trials"] for run in of_method)
            cpu = mean(run["cpu_seconds"] for run in of_method)
            rows.append([name, *cells, f"{trials:.0f}", f"{cpu:.1f}", len(of_method)])
        header = [space, *(f"after {b}" for b in BUDGETS), "trials", "CPU s a run", "seeds"]
        parts.append(
            f"Space `{space}`: {of_space['recorded']} recorded trials; trees foretell a trial that "
            f"they have not seen with a rank correlation of {of_space['rank_correlation']:.2f}."
        )
        parts.append(table(header, sorted(rows, key=lambda row: row[-5])))
    about = "Regret in points of validation accuracy, mean and standard error over seeds."
    return "\n\n".join([f"`{content['command']}`", about, *parts]) + "\n"


def _cell(values: Any) -> str:
    error = f" +- {stdev(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=DEFAULT, choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    by_space: dict[str, list[Path]] = {}
    for path in options.files:
        by_space.setdefault(json.loads(path.read_text())["space"], []).append(path)
    content: dict[str, Any] = {
        "command": "python -m benchmarks.samplers.real_spaces " + " ".join(sys.argv[1:]),
        "machine": machine(["optuna", "numpy", "scipy", "scikit-learn"]),
        "spaces": {},
        "runs": [],
    }
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        futures = []
        for space, files in by_space.items():
            forest = CurveForest(files)
            content["spaces"][space] = {
                "recorded": len(forest.trials),
                "rank_correlation": forest.rank_correlation,
            }
            for seed, name in product(range(options.seeds), options.methods):
                futures.append(pool.submit(execute, tuple(files), name, seed))
        content["runs"] = [future.result() for future in as_completed(futures)]
    order = {name: i for i, name in enumerate(options.methods)}
    content["runs"].sort(key=lambda run: (run["space"], order[run["method"]], run["seed"]))
    text = json.dumps(content) + "\n"
    write_atomically(options.out.with_suffix(".json"), text.encode())
    write_atomically(options.out.with_suffix(".md"), report(content).encode())
    print(report(content))


if __name__ == "__main__":
    main()
