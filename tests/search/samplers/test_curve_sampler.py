"""The curve sampler: Optuna's contract, and what the product needs beyond it."""

import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState

from search.samplers.curve_sampler import CurveSampler
from spaces import SpaceContext, get_space

pytestmark = pytest.mark.filterwarnings("ignore")  # Optuna's tests warn on purpose


class TestOptunaContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return partial(CurveSampler, n_startup_trials=1, seed=1)


def ask_and_train(study: optuna.Study, epochs: int = 9) -> optuna.Trial:
    """One trial with a curve that depends on x and on the kind; the bad stop after 3 epochs."""
    trial = study.ask()
    x = trial.suggest_float("x", 0, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    slope = trial.suggest_float(f"{kind}.lr", 1e-3, 1.0, log=True)
    best = 1 - (x - 0.7) ** 2 - (0.3 if kind == "a" else 0.0) - 0.1 * abs(np.log10(slope) + 1)
    for epoch in range(1, epochs + 1):
        trial.report(best - 0.5 / epoch, epoch)
        if epoch == 3 and best < 0.6:
            study.tell(trial, state=TrialState.PRUNED)
            return trial
    study.tell(trial, best)
    return trial


def best_of(sampler: BaseSampler, trials: int) -> float:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        ask_and_train(study)
    return study.best_value


def test_it_finds_better_than_random_search() -> None:
    ours = [best_of(CurveSampler(seed=seed), 40) for seed in range(3)]
    random = [best_of(RandomSampler(seed=seed), 40) for seed in range(3)]
    assert np.mean(ours) > np.mean(random) and min(ours) > 0.95


def test_the_direction_is_heeded() -> None:
    study = optuna.create_study(direction="minimize", sampler=CurveSampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.3) ** 2, n_trials=25)
    assert study.best_value < 1e-3


def test_the_seed_decides() -> None:
    def asked(seed: int) -> list[dict[str, object]]:
        study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=seed))
        return [ask_and_train(study).params for _ in range(14)]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_the_first_trials_are_a_latin_hypercube() -> None:
    study = optuna.create_study(sampler=CurveSampler(n_startup_trials=8, seed=0))
    trials = [study.ask() for _ in range(8)]
    places = [t.suggest_float("x", 0, 1) for t in trials]
    choices = [t.suggest_categorical("c", ["a", "b", "c", "d"]) for t in trials]
    assert sorted(int(8 * x) for x in places) == list(range(8))
    assert sorted(choices) == sorted("abcd" * 2)


def test_a_conditional_space_is_asked_for_what_belongs_together() -> None:
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=0))
    for _ in range(20):
        ask_and_train(study)
    space = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert set(space) == {"x", "kind", "a.lr", "b.lr"}
    for _ in range(5):
        params = study.sampler.sample_relative(study, study.trials[-1], space)
        assert set(params) == {"x", "kind", f"{params['kind']}.lr"}


@pytest.mark.parametrize("name", ["wrn", "all"])
def test_real_spaces_are_sampled(name: str) -> None:
    """Failed, pruned, running and complete trials, and known-good points, in one study."""
    space, context = get_space(name), SpaceContext(epochs=9)
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(6, seed=0))
    for point in list(space.points.values())[:3]:
        study.enqueue_trial(dict(point))
    rng = np.random.RandomState(0)
    for number in range(20):
        trial = study.ask()
        space.suggest(trial, context)
        if number % 7 == 6:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 11 != 10:  # that one goes on running
            value = float(rng.uniform(0.8, 0.9))
            trial.report(value, 3)
            stops = number % 3 > 0
            study.tell(trial, None if stops else value, TrialState.PRUNED if stops else None)
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING}


def test_every_other_trial_leaves_the_neighbourhood_of_the_best() -> None:
    """In a space of many parameters what improves a little on the best is always next to it."""
    names = [f"x{i}" for i in range(20)]
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=0))
    changed: dict[int, list[int]] = {0: [], 1: []}
    best: dict[str, float] = {}
    for number in range(40):
        trial = study.ask()
        params = {name: trial.suggest_float(name, 0, 1) for name in names}
        if number >= 20:
            moved = sum(abs(params[name] - best[name]) > 0.05 for name in names)
            changed[number % 2].append(moved)
        study.tell(trial, -sum((params[name] - 0.5) ** 2 for name in names))
        best = study.best_params
    assert np.median(changed[0]) < 10 < np.median(changed[1])


def test_trials_that_run_at_once_differ() -> None:
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=0))
    for _ in range(12):
        trial = study.ask()
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        study.tell(trial, -((x - 0.7) ** 2) + np.sin(9 * y))
    running = [study.ask() for _ in range(4)]
    places = [[t.suggest_float("x", 0, 1), t.suggest_float("y", 0, 1)] for t in running]
    apart = [np.hypot(*np.subtract(a, b)) for a, b in combinations(places, 2)]
    assert min(apart) > 0.01


def test_bounds_that_differ_between_trials() -> None:
    """What the model wants beyond what is affordable today is brought to the bound."""
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=0))
    for number in range(30):
        trial = study.ask()
        highest = 10 if number < 20 else 4
        width = trial.suggest_int("width", 1, highest)
        assert 1 <= width <= highest
        study.tell(trial, width / 10)
    assert [t.params["width"] for t in study.trials[20:]].count(4) >= 8


def test_values_that_are_no_numbers_do_no_harm() -> None:
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=0))
    for number in range(20):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.report(float("nan") if number % 2 else -np.inf, 1)
        study.tell(trial, state=TrialState.PRUNED)
    for _ in range(20):
        ask_and_train(study)
    assert study.best_value > 0.5


def test_two_drivers_on_one_study(tmp_path: Path) -> None:
    """Neither knows more than the storage does; both learn from both."""
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(storage=url, study_name="s", direction="maximize")
    drivers = [
        optuna.load_study(storage=url, study_name="s", sampler=CurveSampler(4, seed=seed))
        for seed in range(2)
    ]
    for number in range(10):
        ask_and_train(drivers[number % 2], epochs=3)
    sampler = drivers[0].sampler
    fresh = optuna.load_study(storage=url, study_name="s", sampler=CurveSampler(4, seed=5))
    trial = fresh.trials[-1]
    space = fresh.sampler.infer_relative_search_space(fresh, trial)
    assert space == sampler.infer_relative_search_space(drivers[0], trial)
    assert len(space) == 4


def seconds_of_an_ask(trials: int) -> float:
    """The CPU time of an ask in a study of so many stopped trials, the least of several."""
    rng = np.random.RandomState(0)
    distributions = {
        **{f"x{i}": FloatDistribution(0, 1) for i in range(20)},
        **{f"c{i}": CategoricalDistribution(["a", "b", "c"]) for i in range(10)},
    }
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(seed=0))
    for _ in range(trials):
        params = {f"x{i}": rng.uniform() for i in range(20)}
        params |= {f"c{i}": "abc"[rng.randint(3)] for i in range(10)}
        value = sum(params[f"x{i}"] for i in range(5))
        study.add_trial(
            optuna.create_trial(
                state=TrialState.PRUNED,
                params=params,
                distributions=distributions,
                intermediate_values={3: value},
            )
        )
    study.ask(distributions)  # reads all trials and fits
    taken = []
    for _ in range(4):
        started = time.process_time()
        study.ask(distributions)
        taken.append(time.process_time() - started)
    return min(taken)


def test_an_ask_after_a_thousand_trials_is_hardly_dearer() -> None:
    """The cost of a Gaussian process grows with the cube of what it knows: it knows no more."""
    assert seconds_of_an_ask(1000) < 4 * seconds_of_an_ask(250)
