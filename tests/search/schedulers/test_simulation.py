"""The loop in simulated time that benchmarks/samplers/lcbench.py compares methods in."""

from itertools import islice
from typing import Any, cast

import numpy as np
import optuna

from benchmarks.samplers.lcbench_rivals import RayTuner
from benchmarks.samplers.lcbench_simulation import (
    FACTOR,
    GRACE,
    Method,
    Result,
    Tuner,
    Verdict,
    results,
    simulate,
)
from benchmarks.samplers.lcbench_surrogate import EPOCHS, Array, Surrogate


class MadeUp:
    """Curves from a formula, in the place of those of the surrogate's network."""

    def curve(self, params: dict[str, float]) -> tuple[Array, Array]:
        epochs = np.arange(1, EPOCHS + 1)
        end = 90 - 20 * abs(params["momentum"] - 0.8) - 5 * params["max_dropout"]
        return end - 40 * params["momentum"] / epochs, epochs * (1 + params["num_layers"])


CURVES = cast(Surrogate, MadeUp())


def seen(tuner: Tuner, count: int = 1500) -> list[Result]:
    return list(islice(results(tuner, CURVES), count))


def test_rays_search_and_asha_do_what_our_asha_does_with_optunas_tpe_told_complete() -> None:
    def multivariate(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(multivariate=True, seed=seed)

    ours = Method(multivariate, "asha", complete=True)(1)
    assert seen(RayTuner(1)) == seen(ours)
    states = {trial.state.name for trial in ours.study.get_trials() if trial.state.is_finished()}
    assert states == {"COMPLETE"}


def test_optunas_hyperband_pruner_prunes_and_repeats_itself() -> None:
    method = Method(
        lambda seed: optuna.samplers.TPESampler(seed=seed),
        pruner=lambda: optuna.pruners.HyperbandPruner(GRACE, EPOCHS, FACTOR),
    )
    tuner = method(1)
    first = seen(tuner)
    assert seen(method(1)) == first
    pruned = [t for t in tuner.study.get_trials() if t.state.name == "PRUNED"]
    assert {trial.last_step for trial in pruned} >= {3, 9}, "rungs of two brackets"


class Pausing:
    """Pauses each trial at epoch 3, and goes on with it before a new one is begun."""

    def __init__(self) -> None:
        self.begun, self.paused = 0, list[int]()
        self.judged: list[tuple[int, int]] = []

    def next_trial(self) -> tuple[int, dict[str, Any]]:
        if self.paused:
            return self.paused.pop(), {}
        self.begun += 1
        return self.begun, {"momentum": 0.5, "max_dropout": 0.0, "num_layers": self.begun}

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        self.judged.append((number, epoch))
        if epoch == 3:
            self.paused.append(number)
            return "pause"
        return "stop" if epoch == 5 else "continue"


def test_a_paused_trial_goes_on_where_it_stopped() -> None:
    tuner = Pausing()
    seen(tuner, 60)
    for number in range(1, 5):
        assert [e for n, e in tuner.judged if n == number] == [1, 2, 3, 4, 5]
    # Epochs of the first four trials take 2, 3, 4 and 5 seconds.
    assert tuner.judged[:6] == [(1, 1), (2, 1), (3, 1), (1, 2), (4, 1), (2, 2)]


def test_the_incumbent_is_judged_by_its_last_epoch() -> None:
    found, seconds = simulate(
        Method(lambda seed: optuna.samplers.RandomSampler(seed=seed))(0), CURVES
    )
    assert len(found) == 3 and found[-1] > 85
    assert seconds > 0
