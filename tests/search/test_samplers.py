"""Each sampler under the contract tests that Optuna ships, and repeatable by its seed."""

from collections.abc import Callable
from functools import partial

import optuna
import pytest
from optuna.samplers import BaseSampler, TPESampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase

from search.samplers import make_sampler
from search.settings import SAMPLERS
from spaces import SpaceContext, get_space

pytestmark = pytest.mark.filterwarnings("ignore")  # Optuna's tests warn on purpose


@pytest.mark.parametrize("name", SAMPLERS)
class TestOptunaContract(BasicSamplerTestCase):
    @pytest.fixture
    def sampler(self, name: str) -> Callable[[], BaseSampler]:
        return partial(make_sampler, name, 1)


@pytest.mark.parametrize("name", ["cmaes", "qmc"])
class TestOptunaContractOfRelativeSamplers(RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self, name: str) -> Callable[[], BaseSampler]:
        return partial(make_sampler, name, 1, startup_trials=0)


def parameters(name: str, seed: int, trials: int = 14) -> list[dict[str, object]]:
    """Give the parameters of a short study over a real space with made-up values."""
    study = optuna.create_study(sampler=make_sampler(name, seed), direction="maximize")
    for number in range(trials):
        trial = study.ask()
        get_space("quick").suggest(trial, SpaceContext(epochs=9))
        study.tell(trial, number % 5 / 5)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_seed_decides(name: str) -> None:
    assert parameters(name, 1) == parameters(name, 1)
    assert parameters(name, 1) != parameters(name, 2)


def test_tpe_is_univariate() -> None:
    sampler = make_sampler("tpe", 0)
    assert isinstance(sampler, TPESampler)
    assert sampler._multivariate is False


def test_an_unknown_sampler_is_a_defect() -> None:
    with pytest.raises(ValueError, match="'nsga'"):
        make_sampler("nsga", 0)
