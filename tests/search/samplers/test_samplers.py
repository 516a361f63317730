"""Each sampler is repeatable by its seed; ours pass the contract tests that Optuna ships."""

import itertools
import random
from collections.abc import Callable
from functools import partial

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.trial import create_trial

from search.samplers.bounded_tpe import BoundedTPESampler, thinned
from search.samplers.registry import make_sampler
from search.settings import SAMPLERS
from spaces import SpaceContext, get_space

pytestmark = pytest.mark.filterwarnings("ignore")  # Optuna's tests warn on purpose


class TestOptunaContract(BasicSamplerTestCase):
    """Of `tpe`, which we bound; `curves` has it in its own file, the others are Optuna's as is."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return partial(make_sampler, "tpe", 1)


def parameters(name: str, seed: int, trials: int = 12) -> list[dict[str, object]]:
    """Give the parameters of a short study over a real space with made-up values."""
    study = optuna.create_study(sampler=make_sampler(name, seed), direction="maximize")
    for number in range(trials):
        trial = study.ask()
        get_space("quick").suggest(trial, SpaceContext(epochs=9))
        study.tell(trial, number % 5 / 5)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_seed_decides(name: str) -> None:
    first = parameters(name, 1)
    assert first == parameters(name, 1)
    assert first != parameters(name, 2)


def test_tpe_is_univariate() -> None:
    sampler = make_sampler("tpe", 0)
    assert isinstance(sampler, TPESampler)
    assert sampler._multivariate is False


def suggestions(sampler: BaseSampler, trials: int) -> list[dict[str, object]]:
    """Give the parameters of trials in a study that has finished ones, and one running."""
    study = optuna.create_study(sampler=sampler, direction="maximize")
    draw = random.Random(0)
    space = {"x": FloatDistribution(0, 1), "y": CategoricalDistribution(["a", "b"])}
    for _ in range(trials):
        params = {"x": draw.random(), "y": draw.choice("ab")}
        value = params["x"] + (params["y"] == "a")
        study.add_trial(create_trial(params=params, distributions=space, value=value))
    study.ask(space)
    return [study.ask(space).params for _ in range(5)]


def test_bounded_tpe_is_plain_tpe_until_there_are_too_many_trials() -> None:
    plain = TPESampler(multivariate=False, seed=3)
    assert suggestions(BoundedTPESampler(seed=3), 60) == suggestions(plain, 60)
    few = BoundedTPESampler(seed=3, most=50)
    found = suggestions(few, 400)
    assert sum(params["y"] == "a" for params in found) >= 4, "it still learns from the best"


def test_the_best_are_kept_and_the_others_spread() -> None:
    trials = [create_trial(value=float(n % 97)) for n in range(1000)]
    for number, trial in enumerate(trials):
        trial.number = number
    kept = thinned(trials, StudyDirection.MAXIMIZE, most=100)
    assert len(kept) == 100
    assert [t.number for t in kept] == sorted(t.number for t in kept)
    best = sorted(trials, key=lambda t: -t.values[0])[:10]
    assert {t.number for t in best} <= {t.number for t in kept}
    assert max(b.number - a.number for a, b in itertools.pairwise(kept)) < 30


def test_an_unknown_sampler_is_a_defect() -> None:
    with pytest.raises(ValueError, match="'nsga'"):
        make_sampler("nsga", 0)
