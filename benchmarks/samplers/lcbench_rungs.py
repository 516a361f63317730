r"""Does a search warn of rungs that stop slow starters, and only then? On LCBench's surrogate.

    python -m benchmarks.samplers.lcbench_rungs [--surrogate DIR] [--seeds 10] [--budget 25]
        [--samplers random tpe] [--tasks 189908 ...]

ASHA with a grace period of 1 and of 3 epochs: Spearman's rank correlation of the first rung with
the next over 500 random configurations that all go on, the median estimate of the searches, how
many of them warned while they ran and at their end, and the incumbent's regret (lcbench.py).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import optuna

from benchmarks.report import table
from benchmarks.samplers.lcbench import TASKS, surrogate_folder
from benchmarks.samplers.lcbench_simulation import (
    FACTOR,
    FIRST_COUNTED,
    Method,
    OptunaTuner,
    results,
)
from benchmarks.samplers.lcbench_surrogate import EPOCHS, Surrogate, suggest
from search.samplers.registry import make_sampler
from search.schedulers.rank_correlation import (
    RungCorrelation,
    grace_period_warning,
    rung_correlations,
)
from search.schedulers.rules import Asha

GRACES = (1, 3)


def correlations(tuner: OptunaTuner, rungs: list[int]) -> list[RungCorrelation]:
    """As the product's summary has them."""
    trials = tuner.study.get_trials(deepcopy=False)
    return rung_correlations([trial.intermediate_values for trial in trials], rungs)


def search(surrogate: Surrogate, sampler: str, grace: int, seed: int, budget: int) -> list[Any]:
    """One search: estimate at the first rung, warned while it ran, at its end, incumbent's end.

    It is asked after every decision at a rung, the product only as their number grows by 5 %.
    """
    tuner = Method(partial(make_sampler, sampler), "asha", grace=grace)(seed)
    rungs = list(Asha(grace, FACTOR, EPOCHS).rungs)
    warned, highest, incumbent = False, -1.0, 0.0
    for used, result in enumerate(results(tuner, surrogate), start=1):
        if result.epoch >= FIRST_COUNTED and result.value > highest:
            highest, incumbent = result.value, result.final
        if result.epoch in rungs and not warned:
            warned = bool(grace_period_warning(correlations(tuner, rungs)))
        if used == budget * EPOCHS:
            break
    found = correlations(tuner, [*rungs, EPOCHS])
    return [found[0].estimate, warned, bool(grace_period_warning(found)), incumbent]


def rank_correlation(surrogate: Surrogate, rung: int) -> float:
    """Of a rung with the next, over random configurations of which none is stopped."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draws = [surrogate.curve(suggest(study.ask()))[0] for _ in range(500)]
    curves = [{e: curve[e - 1] for e in (rung, rung * FACTOR)} for curve in draws]
    return rung_correlations(curves, [rung, rung * FACTOR])[0].observed


def row(options: argparse.Namespace, task: str, sampler: str, grace: int) -> list[object]:
    surrogate = Surrogate(surrogate_folder(options.surrogate), task)
    runs = [search(surrogate, sampler, grace, s, options.budget) for s in range(options.seeds)]
    estimates, during, at_end, ends = zip(*runs, strict=True)
    figures = rank_correlation(surrogate, grace), median(estimates), mean(ends)
    true, estimate, end = (f"{figure:.2f}" for figure in figures)
    return [sampler, grace, task, true, estimate, sum(during), sum(at_end), len(runs), end]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--surrogate", type=Path)
    parser.add_argument("--samplers", nargs="*", default=["random", "tpe"])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=25, help="full trainings")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    header = ["sampler", "grace", "task", "true", "estimate", "warned", "at its end", "of", "value"]
    rows = []
    for sampler in options.samplers:
        for grace in GRACES:
            for task in options.tasks:
                rows.append(row(options, task, sampler, grace))
                print(table(header, rows[-1:]).splitlines()[-1], flush=True)
    print(table(header, rows))


if __name__ == "__main__":
    main()
