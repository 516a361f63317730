"""Each sampler is repeatable by its seed."""

import optuna
import pytest
from optuna.samplers import TPESampler

from search.samplers.registry import make_sampler
from search.settings import SAMPLERS
from spaces import SpaceContext, get_space


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


def test_an_unknown_sampler_is_a_defect() -> None:
    with pytest.raises(ValueError, match="'nsga'"):
        make_sampler("nsga", 0)
