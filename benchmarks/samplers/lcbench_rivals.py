"""Ray Tune's and Syne Tune's own classes, driven by hand in simulated time.

No Ray is started and no Syne Tune back end: their searchers and schedulers are called as
`TuneController` and `Tuner` call them. Each is imported only where it is used. Syne Tune dropped
MOBSTER and Hyper-Tune after 0.14.2, which wants numpy 1: `pip install -e ".[onnx,benchmarks]"`, in
an environment of its own.
"""

from __future__ import annotations

import logging
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from benchmarks.samplers.lcbench_simulation import FACTOR, GRACE, Verdict
from benchmarks.samplers.lcbench_surrogate import BOX, EPOCHS, suggest


class RayTuner:
    """Ray's OptunaSearch with its AsyncHyperBandScheduler, which is its ASHA; one bracket.

    Trials that it stops are told COMPLETE, and the search never learns the value of a rung at which
    one was stopped (`TuneController._process_trial_result`). A run of Ray also asks for each trial
    one ahead of time; here it asks when a worker is free.
    """

    def __init__(self, seed: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler
        from ray.tune.search.optuna import OptunaSearch

        self._search = OptunaSearch(suggest, metric="value", mode="max", seed=seed)
        self._scheduler = AsyncHyperBandScheduler(
            metric="value", mode="max", max_t=EPOCHS, grace_period=GRACE, reduction_factor=FACTOR
        )
        self._trials: list[Any] = []

    def next_trial(self) -> tuple[int, dict[str, float]]:
        number = len(self._trials)
        self._trials.append(SimpleNamespace(trial_id=str(number)))
        params = self._search.suggest(str(number))
        self._scheduler.on_trial_add(None, self._trials[number])
        return number, {name: params[name] for name in BOX}

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        trial, result = self._trials[number], {"training_iteration": epoch, "value": value}
        if self._scheduler.on_trial_result(None, trial, result) == "CONTINUE":
            self._search.on_trial_result(trial.trial_id, result)
            return "continue"
        self._scheduler.on_trial_complete(None, trial, result)
        self._search.on_trial_complete(trial.trial_id, result=result)
        return "stop"


class SyneTuner:
    """A scheduler of Syne Tune with the rungs of the others; else with its own defaults.

    `kind` is "stopping", or "promotion": trials are paused at each rung, and the best go on when a
    worker is free. By default the middle of the space would be the first trial: a good one here,
    which no other method is given, so it is only with `middle_first`.
    """

    def __init__(self, name: str, kind: str, seed: int, *, middle_first: bool = False) -> None:
        from syne_tune.optimizer import legacy_baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        logging.getLogger().setLevel(logging.ERROR)
        self._scheduler: Any = getattr(legacy_baselines, name)(
            {**_syne_space(), "epochs": EPOCHS},
            metric="value",
            mode="max",
            resource_attr="epoch",
            max_resource_attr="epochs",
            type=kind,
            grace_period=GRACE,
            reduction_factor=FACTOR,
            random_seed=seed,
            points_to_evaluate=None if middle_first else [],
            search_options={"debug_log": False},
        )
        self._trials: list[Any] = []

    def next_trial(self) -> tuple[int, dict[str, float]]:
        from syne_tune.backend.trial_status import Trial

        number = len(self._trials)
        suggestion = self._scheduler.suggest(number)
        if suggestion.spawn_new_trial_id:
            self._trials.append(Trial(number, suggestion.config, datetime.now()))
            self._scheduler.on_trial_add(self._trials[number])
        else:
            number = int(suggestion.checkpoint_trial_id)
            self._trials[number].config = suggestion.config or self._trials[number].config
        return number, {name: float(self._trials[number].config[name]) for name in BOX}

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        trial, result = self._trials[number], {"epoch": epoch, "value": value}
        decision = self._scheduler.on_trial_result(trial, result)
        if decision == "CONTINUE" and epoch < EPOCHS:
            return "continue"
        if decision == "CONTINUE":
            self._scheduler.on_trial_complete(trial, result)
            return "stop"
        self._scheduler.on_trial_remove(trial)
        return "pause" if decision == "PAUSE" else "stop"


def _syne_space() -> dict[str, Any]:
    from syne_tune import config_space

    domains = {
        "": config_space.uniform,
        "log": config_space.loguniform,
        "int": config_space.randint,
        "int log": config_space.lograndint,
    }
    return {name: domains[kind](low, high) for name, (low, high, kind) in BOX.items()}
