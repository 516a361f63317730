"""What Optuna keeps of a space: distributions that fit together, and that change with a version."""

from __future__ import annotations

import functools

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
)

from fmnist_models.config.base import ModelConfig
from fmnist_models.training.cost import model_cost
from spaces import SPACES, SpaceContext, get_space
from spaces.catalog import SAMPLES, digest, read_catalog

every_space = pytest.mark.parametrize("name", SPACES)
Distributions = dict[str, BaseDistribution]


def ask(name: str, context: SpaceContext, count: int) -> list[Distributions]:
    """The distributions of `count` random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    for trial in trials:
        get_space(name).suggest(trial, context)
    return [trial.distributions for trial in trials]


@functools.cache
def unlimited(name: str) -> list[Distributions]:
    return ask(name, SpaceContext(epochs=9), SAMPLES)


@every_space
def test_the_catalogue_is_of_the_space_as_it_is(name: str) -> None:
    """Run `python -m spaces catalog`; it refuses new distributions under an old version."""
    entry = read_catalog()[name]
    assert entry.version == get_space(name).version
    assert entry.points == list(get_space(name).points)
    assert entry.digest == digest(unlimited(name))


@pytest.mark.parametrize("name", [name for name in SPACES if name != "all"])
def test_the_digest_sees_every_conditional_parameter_more_than_once(name: str) -> None:
    counts: dict[str, int] = {}
    for trial in unlimited(name):
        for parameter in trial:
            counts[parameter] = counts.get(parameter, 0) + 1
    assert min(counts.values()) > 20  # else 500 samples are too few to see them all


def test_the_digest_sees_a_changed_bound() -> None:
    changed = [dict(trial) for trial in unlimited("wrn")]
    changed[0]["wrn.dropout"] = optuna.distributions.FloatDistribution(0.0, 0.41)
    assert digest(changed) != digest(unlimited("wrn"))


def small(model: ModelConfig) -> bool:
    return model_cost(model).macs < 1e8


@every_space
@pytest.mark.parametrize(
    ("limited", "count"),
    [
        (SpaceContext(epochs=3, seed=5, affordable=small), 4),  # to count costs takes time
        (SpaceContext(1, 0, lambda model: False), 12),
    ],
    ids=["small", "nothing"],
)
def test_a_name_keeps_its_kind_scale_and_choices_whatever_is_affordable(
    name: str, limited: SpaceContext, count: int
) -> None:
    first: Distributions = {}
    for trial in [*unlimited(name)[:200], *ask(name, limited, count)]:
        for parameter, distribution in trial.items():
            before = first.setdefault(parameter, distribution)
            check_distribution_compatibility(before, distribution)
            assert type(before) is type(distribution)
            for trait in ("log", "step"):
                assert getattr(before, trait, None) == getattr(distribution, trait, None)


@every_space
def test_choices_are_plain_values_that_sql_can_keep(name: str) -> None:
    for distribution in {id(d): d for trial in unlimited(name) for d in trial.values()}.values():
        if isinstance(distribution, CategoricalDistribution):
            assert all(isinstance(c, str | int | float | bool) for c in distribution.choices)
            assert len(distribution.choices) > 1
        else:
            assert not distribution.single()
