r"""What samplers and schedulers find for a budget, on a surrogate of learning curves.

    python -m benchmarks.lcbench --surrogate DIR --out results/lcbench [--seeds 10] [--jobs 2]
        [--methods ours tpe+asha ...] [--tasks 189908 ...]

DIR holds model.onnx and encoding.json of LCBench's surrogate (YAHPO Gym, 7 hyperparameters, 52
epochs). The product's own samplers and schedulers decide, in simulated time: four workers, an epoch
takes as long as the surrogate says, results come one at a time in that order. The budget is counted
in epochs, 52 of them a full training. The incumbent is the configuration with the highest value
seen from epoch 3 on; its regret is how far its value after epoch 52 lies below the best of 100,000
random configurations. Each regret is divided by that of random search after 50 full trainings on
the same task. Needs onnxruntime.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from benchmarks.report import machine, table
from fmnist_models.files import write_atomically
from search.curve_sampler import CurveSampler
from search.samplers import make_sampler
from search.schedulers import TrialScheduler, make_scheduler

EPOCHS, WORKERS, GRACE, FACTOR = 52, 4, 3, 3
BUDGETS = (10, 25, 50)
"""Full trainings."""
FIRST_COUNTED = 3
REFERENCE_DRAWS = 100_000
FASHION = "189908"
TASKS = (FASHION, "189909", "168330", "7593", "126026", "3945")
FRESH_TASKS = ("167152", "168908", "189354", "34539", "146212", "168331")
"""Not used while anything was built or chosen."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """How configurations are chosen (by seed) and trials are stopped."""

    sampler: Callable[[int], optuna.samplers.BaseSampler]
    scheduler: str


def _multivariate(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


METHODS: dict[str, Method] = {
    "random": Method(lambda seed: make_sampler("random", seed), "fifo"),
    "random+asha": Method(lambda seed: make_sampler("random", seed), "asha"),
    "tpe": Method(lambda seed: make_sampler("tpe", seed), "fifo"),
    "tpe+asha": Method(lambda seed: make_sampler("tpe", seed), "asha"),
    "tpe+hyperband": Method(lambda seed: make_sampler("tpe", seed), "hyperband"),
    "optuna-tpe": Method(_multivariate, "fifo"),
    "optuna-tpe+asha": Method(_multivariate, "asha"),
    "curves": Method(lambda seed: CurveSampler(seed=seed), "fifo"),
    "curves+asha": Method(lambda seed: CurveSampler(seed=seed), "asha"),
    "curves+hyperband": Method(lambda seed: CurveSampler(seed=seed), "hyperband"),
    "curves+median": Method(lambda seed: CurveSampler(seed=seed), "median"),
}


class Surrogate:
    """The learning curves of one task."""

    def __init__(self, folder: Path, task: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        encoding = json.loads((folder / "encoding.json").read_text())
        self._task = int(encoding["OpenML_task_id"][task])

    def _predict(self, inputs: NDArray[np.float32]) -> Array:
        tasks = np.full((len(inputs), 1), self._task, dtype=np.int32)
        (output,) = self._session.run(None, {"x_cat": tasks, "x_cont": inputs})
        return np.asarray(output, dtype=np.float64)

    def curve(self, params: dict[str, float]) -> tuple[Array, Array]:
        """Validation accuracy in per cent, and cumulative seconds, after each epoch: (52,) each."""
        epochs = np.arange(1, EPOCHS + 1, dtype=np.float32)[:, None]
        rest = np.tile(np.array(list(params.values()), dtype=np.float32), (EPOCHS, 1))
        output = self._predict(np.concatenate([epochs, rest], axis=1))
        return output[:, 1], np.maximum.accumulate(np.maximum(output[:, 0], 1e-3))

    def best_of_random(self, seed: int = 0) -> float:
        """The highest value after epoch 52 of 100,000 random configurations."""
        rng = np.random.RandomState(seed)
        columns = [np.full(REFERENCE_DRAWS, float(EPOCHS))]
        for low, high, kind in BOX.values():
            draws = rng.uniform(size=REFERENCE_DRAWS)
            if "log" in kind:
                values = low * (high / low) ** draws
            else:
                values = low + (high - low) * draws
            columns.append(np.round(values) if "int" in kind else values)
        inputs = np.stack(columns, axis=1).astype(np.float32)
        return max(float(self._predict(part)[:, 1].max()) for part in np.array_split(inputs, 50))


BOX: dict[str, tuple[float, float, str]] = {
    "batch_size": (16, 512, "int log"),
    "learning_rate": (1e-4, 1e-1, "log"),
    "momentum": (0.1, 0.99, ""),
    "weight_decay": (1e-5, 1e-1, ""),
    "num_layers": (1, 5, "int"),
    "max_units": (64, 1024, "int log"),
    "max_dropout": (0.0, 1.0, ""),
}
"""In the order of the surrogate's inputs: bounds, whether whole and whether logarithmic."""


def suggest(trial: optuna.Trial) -> dict[str, float]:
    params: dict[str, float] = {}
    for name, (low, high, kind) in BOX.items():
        if "int" in kind:
            params[name] = trial.suggest_int(name, int(low), int(high), log="log" in kind)
        else:
            params[name] = trial.suggest_float(name, low, high, log="log" in kind)
    return params


@dataclass
class _Running:
    trial: optuna.Trial
    values: Array
    seconds: Array
    epoch: int = 0


def simulate(surrogate: Surrogate, method: Method, seed: int) -> tuple[list[float], float]:
    """The incumbent's value after 52 epochs at each budget; and the CPU seconds that it took."""
    started = time.process_time()
    study = optuna.create_study(direction="maximize", sampler=method.sampler(seed))
    scheduler = make_scheduler(
        method.scheduler, grace_period=GRACE, reduction_factor=FACTOR, epochs=EPOCHS
    )
    found, incumbent, highest = [], 0.0, -np.inf
    for used, (value, epoch, final) in enumerate(_results(study, scheduler, surrogate), start=1):
        if epoch >= FIRST_COUNTED and value > highest:
            highest, incumbent = value, final
        if used in [budget * EPOCHS for budget in BUDGETS]:
            found.append(incumbent)
        if len(found) == len(BUDGETS):
            break
    return found, time.process_time() - started


def _results(
    study: optuna.Study, scheduler: TrialScheduler, surrogate: Surrogate
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
    if epoch == EPOCHS:
        study.tell(trial, value)
        return False
    decision = scheduler.decide(trial.number, epoch, value)
    scheduler.observe(trial.number, epoch, value)
    if decision.action == "stop":
        study.tell(trial, state=TrialState.PRUNED)
        return False
    return True


@cache
def _surrogate(folder: Path, task: str) -> Surrogate:
    return Surrogate(folder, task)


def execute(folder: Path, name: str, task: str, seed: int) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    values, seconds = simulate(_surrogate(folder, task), METHODS[name], seed)
    return {"method": name, "task": task, "seed": seed, "values": values, "cpu_seconds": seconds}


def reference(folder: Path, task: str) -> float:
    return _surrogate(folder, task).best_of_random()


def normalised(runs: list[dict[str, Any]], best: dict[str, float]) -> dict[str, list[list[float]]]:
    """By method and seed: regrets at each budget over random search's last, mean over tasks."""
    tasks = sorted({run["task"] for run in runs})
    unit = {
        task: mean(
            best[task] - run["values"][-1]
            for run in runs
            if run["task"] == task and run["method"] == "random"
        )
        for task in tasks
    }
    table_: dict[str, dict[int, list[list[float]]]] = {}
    for run in runs:
        shares = [(best[run["task"]] - value) / unit[run["task"]] for value in run["values"]]
        table_.setdefault(run["method"], {}).setdefault(run["seed"], []).append(shares)
    return {
        name: [
            [mean(column) for column in zip(*shares, strict=True)] for shares in by_seed.values()
        ]
        for name, by_seed in table_.items()
    }


def report(content: dict[str, Any]) -> str:
    runs, best = content["runs"], content["best_of_random"]
    rows = []
    for name, seeds in normalised(runs, best).items():
        fashion = [r for r in runs if r["method"] == name and r["task"] == FASHION]
        own = [mean(best[FASHION] - r["values"][i] for r in fashion) for i in range(len(BUDGETS))]
        cells = [_cell([seed[i] for seed in seeds]) for i in range(len(BUDGETS))]
        cpu = mean(r["cpu_seconds"] for r in runs if r["method"] == name)
        rows.append(
            [name, *(f"{v:.2f}" for v in own), *cells, f"{cpu:.1f}", str(len(seeds))]
        )
    header = ["method", *(f"Fashion {b}" for b in BUDGETS), *(f"all {b}" for b in BUDGETS)]
    return table([*header, "CPU s a run", "seeds"], rows) + "\n"


def _cell(values: list[float]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{mean(values):.2f} +- {error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surrogate", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    kept = options.out.with_suffix(".json")
    runs = json.loads(kept.read_text())["runs"] if kept.exists() else []
    done = {(run["method"], run["task"], run["seed"]) for run in runs}
    names = list(dict.fromkeys(["random", *options.methods]))
    due = [(n, t, s) for n in names for t in options.tasks for s in range(options.seeds)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        best = dict(
            zip(
                options.tasks,
                pool.map(reference, [options.surrogate] * len(options.tasks), options.tasks),
                strict=True,
            )
        )
        futures = [pool.submit(execute, options.surrogate, *key) for key in due if key not in done]
        runs += [future.result() for future in as_completed(futures)]
    runs = sorted(runs, key=lambda run: (run["method"], run["task"], run["seed"]))
    content = {
        "command": "python -m benchmarks.lcbench --surrogate DIR --out OUT",
        "machine": machine(["optuna", "numpy", "scipy"]),
        "best_of_random": best,
        "runs": runs,
    }
    write_atomically(kept, (json.dumps(content, indent=1) + "\n").encode())
    text = report(content)
    write_atomically(options.out.with_suffix(".md"), text.encode())
    print(text)


if __name__ == "__main__":
    main()
