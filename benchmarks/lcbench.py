r"""What samplers and schedulers find for a budget, on a surrogate of learning curves.

    python -m benchmarks.lcbench --out results/lcbench [--surrogate DIR] [--seeds 10] [--jobs 2]
        [--methods random+asha tpe+asha ...] [--tasks 189908 ...] [--fresh]

DIR, or $LCBENCH_SURROGATE, holds model.onnx and encoding.json of LCBench's surrogate (YAHPO Gym, 7
hyperparameters, 52 epochs). The product's own samplers and schedulers decide, in simulated time:
four workers, an epoch takes as long as the surrogate says, results come one at a time in that
order. The budget is counted in epochs, 52 of them a full training. The incumbent is the
configuration with the highest value seen from epoch 3 on; its regret is how far its value after
epoch 52 lies below the best of 100,000 random configurations. Each regret is divided by that of
random search after 50 full trainings on the same task, in the mean of 100 seeds: of ten alone it
would move every figure by a tenth or two. --fresh takes tasks on which nothing was built or chosen.
What OUT.json has is not run again. Needs onnxruntime (`pip install -e ".[onnx]"`).
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.lcbench_surrogate import EPOCHS, Array, Surrogate, suggest
from benchmarks.report import machine, table
from fmnist_models.files import write_atomically
from search.samplers import make_sampler
from search.schedulers import TrialScheduler, make_scheduler

WORKERS, GRACE, FACTOR, RANDOM_SEEDS = 4, 3, 3, 100
BUDGETS = (10, 25, 50)
"""Full trainings."""
FIRST_COUNTED = 3
VARIABLE = "LCBENCH_SURROGATE"
TASKS = ("189908", "189909", "168330", "7593", "126026", "3945")
FRESH_TASKS = ("167152", "168908", "189354", "34539", "146212", "168331")
"""Not used while anything was built or chosen."""


@dataclass(frozen=True)
class Method:
    """How configurations are chosen (by seed), and trials stopped: by our scheduler or a pruner.

    Trials that were stopped are told COMPLETE with their last value where `complete` says so.
    """

    sampler: Callable[[int], optuna.samplers.BaseSampler]
    scheduler: str = "fifo"
    pruner: Callable[[], optuna.pruners.BasePruner] = optuna.pruners.NopPruner
    complete: bool = False


def _multivariate(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _hyperband() -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(GRACE, EPOCHS, FACTOR)


def _halving() -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(GRACE, FACTOR)


METHODS: dict[str, Method] = {
    f"{sampler}+{scheduler}": Method(partial(make_sampler, sampler), scheduler)
    for sampler in ("random", "tpe", "curves")
    for scheduler in ("fifo", "asha", "quota", "hyperband", "median")
} | {
    "optuna tpe": Method(_multivariate),
    "optuna tpe+hyperband pruner": Method(_multivariate, pruner=_hyperband),
    "optuna tpe+halving pruner": Method(_multivariate, pruner=_halving),
    "optuna tpe+asha": Method(_multivariate, "asha"),
    "optuna tpe+asha, told COMPLETE": Method(_multivariate, "asha", complete=True),
}
"""Of ours by the names of --sampler and --scheduler; of Optuna's with its defaults. The last is
what Ray Tune's OptunaSearch does with its ASHA."""
REFERENCE = "random+fifo"
DEFAULT = [REFERENCE, "random+asha", "tpe+asha", "tpe+quota", "curves+asha", "curves+quota"]


@dataclass
class _Running:
    trial: optuna.Trial
    values: Array
    seconds: Array
    epoch: int = 0


def simulate(surrogate: Surrogate, method: Method, seed: int) -> tuple[list[float], float]:
    """The incumbent's value after 52 epochs at each budget; and the CPU seconds that it took."""
    started = time.process_time()
    study = optuna.create_study(
        direction="maximize", sampler=method.sampler(seed), pruner=method.pruner()
    )
    scheduler = make_scheduler(
        method.scheduler, grace_period=GRACE, reduction_factor=FACTOR, epochs=EPOCHS
    )
    found, incumbent, highest = [], 0.0, -np.inf
    results = _results(study, scheduler, surrogate, method.complete)
    for used, (value, epoch, final) in enumerate(results, start=1):
        if epoch >= FIRST_COUNTED and value > highest:
            highest, incumbent = value, final
        if used in [budget * EPOCHS for budget in BUDGETS]:
            found.append(incumbent)
        if len(found) == len(BUDGETS):
            break
    return found, time.process_time() - started


def _results(
    study: optuna.Study, scheduler: TrialScheduler, surrogate: Surrogate, complete: bool
) -> Iterator[tuple[float, int, float]]:
    """Value, epoch and the curve's last value, result by result in simulated time, without end."""
    queue: list[tuple[float, int, _Running]] = []
    order = iter(range(10**9))

    def start(now: float) -> None:
        trial = study.ask()
        values, seconds = surrogate.curve(suggest(trial))
        heapq.heappush(
            queue, (now + float(seconds[0]), next(order), _Running(trial, values, seconds))
        )

    for _ in range(WORKERS):
        start(0.0)
    while True:
        now, _, run = heapq.heappop(queue)
        value, epoch = float(run.values[run.epoch]), run.epoch + 1
        goes_on = _report(study, scheduler, run.trial, value, epoch)
        if not goes_on:
            ended = complete or epoch == EPOCHS
            study.tell(run.trial, value if ended else None, None if ended else TrialState.PRUNED)
        yield value, epoch, float(run.values[-1])
        if goes_on:
            run.epoch += 1
            step = float(run.seconds[run.epoch] - run.seconds[run.epoch - 1])
            heapq.heappush(queue, (now + max(step, 1e-3), next(order), run))
        else:
            start(now)


def _report(
    study: optuna.Study, scheduler: TrialScheduler, trial: optuna.Trial, value: float, epoch: int
) -> bool:
    """As the session does it; whether the trial goes on."""
    trial.report(value, epoch)
    if epoch == EPOCHS or trial.should_prune():
        return False
    decision = scheduler.decide(trial.number, epoch, value)
    scheduler.observe(trial.number, epoch, value)
    return decision.action == "continue"


@cache
def _surrogate(folder: Path, task: str) -> Surrogate:
    return Surrogate(folder, task)


def execute(folder: Path, name: str, task: str, seed: int) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    values, seconds = simulate(_surrogate(folder, task), METHODS[name], seed)
    return {"method": name, "task": task, "seed": seed, "values": values, "cpu_seconds": seconds}


def reference(folder: Path, task: str) -> dict[str, Any]:
    """What regrets of a task are measured from and in, and how early values tell of late ones."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surrogate = _surrogate(folder, task)
    best = surrogate.best_of_random()
    last = [
        simulate(surrogate, METHODS[REFERENCE], 1000 + seed)[0][-1] for seed in range(RANDOM_SEEDS)
    ]
    ranks = surrogate.rank_correlation((1, 3, 9, 27))
    return {"best": best, "unit": best - mean(last), "rank_correlation": ranks}


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
    runs, tasks = content["runs"], content["tasks"]
    over_all, by_task = [], []
    for name, of_tasks in shares(runs, tasks).items():
        seeds = sorted(set.intersection(*(set(rows) for rows in of_tasks.values())))
        means = np.array([[rows[s] for s in seeds] for rows in of_tasks.values()]).mean(axis=0)
        cpu = [run["cpu_seconds"] for run in runs if run["method"] == name]
        cells = [_cell(column) for column in means.T]
        over_all.append([name, *cells, f"{mean(cpu):.1f}", f"{max(cpu):.1f}", len(seeds)])
        last = [of_tasks.get(task, {}) for task in tasks]
        by_task.append([name, *(_cell([row[-1] for row in rows.values()]) for rows in last)])
    ranks = [[task, *(f"{r:.2f}" for r in of["rank_correlation"])] for task, of in tasks.items()]
    budgets = [f"after {budget}" for budget in BUDGETS]
    parts = [
        f"Normalised regret, mean and standard error over seeds, of {len(tasks)} tasks "
        f"(`{content['command']}`; {content['machine']['processor']})",
        table(["method", *budgets, "CPU s a run", "most", "seeds"], over_all),
        f"By task, after {BUDGETS[-1]} full trainings",
        table(["method", *tasks], by_task),
        f"Rank correlation of an epoch's value with that of epoch {EPOCHS}, 500 random draws",
        table(["task", "epoch 1", "epoch 3", "epoch 9", "epoch 27"], ranks),
    ]
    return "\n\n".join(parts) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not len(values):
        return ""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{mean(values):.2f} +- {error:.2f}"


def surrogate_folder(given: Path | None) -> Path:
    """Where the surrogate is; ends the program with the remedy where it is not."""
    folder = given or Path(os.environ.get(VARIABLE, "."))
    if not (folder / "model.onnx").is_file():
        raise SystemExit(
            f"no model.onnx in {folder}: give the folder of LCBench's surrogate (lcbench of "
            f"github.com/slds-lmu/yahpo_data) by --surrogate or in ${VARIABLE}"
        )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surrogate", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=DEFAULT, choices=list(METHODS))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--fresh", dest="tasks", action="store_const", const=list(FRESH_TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    folder, kept = surrogate_folder(options.surrogate), options.out.with_suffix(".json")
    content = json.loads(kept.read_text()) if kept.exists() else {"runs": [], "tasks": {}}
    content["command"] = "python -m benchmarks.lcbench " + " ".join(sys.argv[1:])
    content["machine"] = machine(["optuna", "numpy", "scipy", "onnxruntime"])
    due = [(n, t, s) for n in options.methods for t in options.tasks for s in range(options.seeds)]
    done = {(run["method"], run["task"], run["seed"]) for run in content["runs"]}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        new = [task for task in options.tasks if task not in content["tasks"]]
        content["tasks"] |= zip(new, pool.map(reference, [folder] * len(new), new), strict=True)
        futures = [pool.submit(execute, folder, *key) for key in due if key not in done]
        for future in as_completed(futures):
            content["runs"].append(future.result())
            write_atomically(kept, (json.dumps(content) + "\n").encode())
    content["runs"].sort(key=lambda run: (run["method"], run["task"], run["seed"]))
    write_atomically(kept, (json.dumps(content) + "\n").encode())
    write_atomically(options.out.with_suffix(".md"), report(content).encode())
    print(report(content))


if __name__ == "__main__":
    main()
