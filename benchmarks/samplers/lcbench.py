r"""What samplers and schedulers find for a budget, on a surrogate of learning curves.

    python -m benchmarks.samplers.lcbench --out results/lcbench
        [--surrogate DIR] [--seeds 10] [--jobs 2] [--methods random+asha tpe+asha ...]
        [--tasks 189908 ...] [--fresh]

DIR, or $LCBENCH_SURROGATE, holds model.onnx and encoding.json of LCBench's surrogate (YAHPO Gym, 7
hyperparameters, 52 epochs). The product's own samplers and schedulers decide, and others by their
own code, in simulated time (lcbench_simulation.py). The budget is counted in epochs, 52 of them a
full training. The incumbent is the configuration with the highest value seen from epoch 3 on; its
regret is how far its value after epoch 52 lies below the best of 100,000 random configurations.
Each regret is divided by that of random search after 50 full trainings on the same task, in the
mean of 100 seeds: of ten alone it would move every figure by a tenth or two. --fresh takes tasks
on which nothing was built or chosen.

What OUT.json has is not run again, so a table may come from several launches; each run says from
which. Needs onnxruntime (`pip install -e ".[onnx]"`), the methods of Syne Tune an environment with
it (`pip install -e ".[onnx,benchmarks]"`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import optuna

from benchmarks.report import machine
from benchmarks.samplers.lcbench_report import report
from benchmarks.samplers.lcbench_rivals import RayTuner, SyneTuner
from benchmarks.samplers.lcbench_simulation import FACTOR, GRACE, Method, Tuner, simulate
from benchmarks.samplers.lcbench_surrogate import EPOCHS, Surrogate
from fmnist_models.files import write_atomically
from search.samplers.registry import make_sampler

RANDOM_SEEDS = 100
VARIABLE = "LCBENCH_SURROGATE"
TASKS = ("189908", "189909", "168330", "7593", "126026", "3945")
FRESH_TASKS = ("167152", "168908", "189354", "34539", "146212", "168331")
"""Not used while anything was built or chosen."""


def _multivariate(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _hyperband() -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(GRACE, EPOCHS, FACTOR)


def _halving() -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(GRACE, FACTOR)


OURS: dict[str, Callable[[int], Tuner]] = {
    f"{sampler}+{scheduler}": Method(partial(make_sampler, sampler), scheduler)
    for sampler in ("random", "tpe", "curves")
    for scheduler in ("fifo", "asha", "quota", "hyperband", "median")
}
"""By the names of --sampler and --scheduler."""
OPTUNA: dict[str, Callable[[int], Tuner]] = {
    "optuna tpe": Method(_multivariate),
    "optuna tpe+hyperband pruner": Method(_multivariate, pruner=_hyperband),
    "optuna tpe+halving pruner": Method(_multivariate, pruner=_halving),
    "optuna tpe+asha": Method(_multivariate, "asha"),
    "optuna tpe+asha, told COMPLETE": Method(_multivariate, "asha", complete=True),
    "ray OptunaSearch+ASHA": RayTuner,
}
"""Optuna with its defaults (TPE is multivariate), beside our ASHA, and as Ray Tune uses it."""
SYNE: dict[str, Callable[[int], Tuner]] = {
    "syne asha": partial(SyneTuner, "ASHA", "stopping"),
    "syne asha promotion": partial(SyneTuner, "ASHA", "promotion"),
    "syne bohb": partial(SyneTuner, "BOHB", "stopping"),
    "syne bohb promotion": partial(SyneTuner, "BOHB", "promotion"),
    "syne mobster promotion": partial(SyneTuner, "MOBSTER", "promotion"),
    "syne hypertune promotion": partial(SyneTuner, "HyperTune", "promotion"),
}
SYNE |= {
    f"{name}, middle first": partial(method, middle_first=True)
    for name, method in SYNE.items()
    if isinstance(method, partial)
}
METHODS = OURS | OPTUNA | SYNE
REFERENCE = "random+fifo"
DEFAULT = [
    *(REFERENCE, "random+asha", "tpe+asha", "tpe+quota", "curves+asha", "curves+quota"),
    *OPTUNA,
]


@cache
def _surrogate(folder: Path, task: str) -> Surrogate:
    return Surrogate(folder, task)


def execute(folder: Path, name: str, task: str, seed: int) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    values, seconds = simulate(METHODS[name](seed), _surrogate(folder, task))
    return {"method": name, "task": task, "seed": seed, "values": values, "cpu_seconds": seconds}


def reference(folder: Path, task: str) -> dict[str, Any]:
    """What regrets of a task are measured from and in, and how early values tell of late ones."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surrogate = _surrogate(folder, task)
    best = surrogate.best_of_random()
    last = [
        simulate(METHODS[REFERENCE](1000 + seed), surrogate)[0][-1] for seed in range(RANDOM_SEEDS)
    ]
    ranks = surrogate.rank_correlation((1, 3, 9, 27))
    return {"best": best, "unit": best - mean(last), "rank_correlation": ranks}


def surrogate_folder(given: Path | None) -> Path:
    """Where the surrogate is; ends the program with the remedy where it is not."""
    folder = given or Path(os.environ.get(VARIABLE, "."))
    if not (folder / "model.onnx").is_file():
        raise SystemExit(
            f"no model.onnx in {folder}: give the folder of LCBench's surrogate (lcbench of "
            f"github.com/slds-lmu/yahpo_data) by --surrogate or in ${VARIABLE}"
        )
    return folder


def launch_of(content: dict[str, Any], methods: list[str]) -> int:
    """Which of the launches this one is: command, day, machine and versions are of all its runs."""
    packages = ["optuna", "numpy", "scipy", "onnxruntime"]
    packages += ["ray"] * any(name.startswith("ray") for name in methods)
    packages += ["syne-tune"] * any(name in SYNE for name in methods)
    try:
        versions = {package: version(package) for package in packages}
    except PackageNotFoundError as error:
        raise SystemExit(
            f'{error.name} is not installed: pip install -e ".[onnx,benchmarks]"'
        ) from None
    launch = {
        "command": f"python -m benchmarks.samplers.lcbench {shlex.join(sys.argv[1:])}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(versions),
    }
    if launch not in content["launches"]:
        content["launches"].append(launch)
    return int(content["launches"].index(launch))


def run_due(content: dict[str, Any], options: argparse.Namespace, kept: Path) -> None:
    """Run what `content` lacks, and write it to `kept` run by run."""
    done = {(run["method"], run["task"], run["seed"]) for run in content["runs"]}
    keys = product(range(options.seeds), options.methods, options.tasks)
    due = [(name, task, seed) for seed, name, task in keys if (name, task, seed) not in done]
    if not due:
        return
    folder, launch = surrogate_folder(options.surrogate), launch_of(content, options.methods)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        new = [task for task in options.tasks if task not in content["tasks"]]
        content["tasks"] |= zip(new, pool.map(reference, [folder] * len(new), new), strict=True)
        futures = [pool.submit(execute, folder, *key) for key in due]
        for future in as_completed(futures):
            content["runs"].append(future.result() | {"launch": launch})
            write_atomically(kept, (json.dumps(content) + "\n").encode())
    content["runs"].sort(key=lambda run: (run["method"], run["task"], run["seed"]))
    write_atomically(kept, (json.dumps(content) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--surrogate", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=DEFAULT, choices=list(METHODS))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--fresh", dest="tasks", action="store_const", const=list(FRESH_TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    kept: Path = options.out.with_suffix(".json")
    content = {"runs": [], "tasks": {}, "launches": []}
    if kept.exists():
        content |= json.loads(kept.read_text())
    run_due(content, options, kept)
    write_atomically(options.out.with_suffix(".md"), report(content).encode())
    print(report(content))


if __name__ == "__main__":
    main()
