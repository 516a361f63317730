"""Samplers that are told what is believed of a space: they begin there, and let go of it."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler

from search.samplers.prior import EVEN, Prior
from search.samplers.registry import make_sampler
from spaces.belief import Axis, Belief

GOOD = Belief({"x": Axis(0.7, 0.9), "kind": Axis("b", 0.9)})
WRONG = Belief({"x": Axis(0.1, 0.9), "kind": Axis("a", 0.9)})
SAMPLERS = ("curves", "random")


def value(trial: optuna.Trial) -> float:
    x, kind = trial.suggest_float("x", 0, 1), trial.suggest_categorical("kind", ["a", "b"])
    others = [trial.suggest_float(f"other{i}", 0, 1) for i in range(4)]
    return 1 - (x - 0.7) ** 2 - 0.3 * (kind == "a") - 0.05 * float(np.var(others))


def searched(sampler: BaseSampler, trials: int) -> list[optuna.trial.FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(value, n_trials=trials)
    return study.trials


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_samples_are_as_believed(name: str) -> None:
    trials = searched(make_sampler(name, 1, prior=GOOD), 10)
    assert sum(t.params["kind"] == "b" for t in trials) >= 7
    assert sum(abs(t.params["x"] - 0.7) < 0.2 for t in trials) >= 7


def regret(prior: Prior, trials: int, seeds: int = 3) -> float:
    found = [searched(make_sampler("curves", seed, prior=prior), trials) for seed in range(seeds)]
    return float(np.mean([1 - max(t.value or 0.0 for t in trials) for trials in found]))


def test_a_belief_helps_and_a_wrong_one_is_let_go_of() -> None:
    assert regret(GOOD, 6) < regret(EVEN, 6)
    assert regret(WRONG, 50) < regret(EVEN, 25) + 0.003, "it costs at most twice as many trials"


def test_an_even_prior_draws_what_none_draws() -> None:
    empty, none = (
        [t.params for t in searched(make_sampler("curves", 3, prior=prior), 14)]
        for prior in (Belief(), EVEN)
    )
    assert empty[:10] == none[:10], "the starting design; later half the candidates are believed"
