"""What Optuna keeps of a space: distributions that fit together, and that change with a version."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)

from fmnist_models.config import ModelConfig
from fmnist_models.cost import model_cost
from spaces import SPACES, SpaceContext, get_space

every_space = pytest.mark.parametrize("name", SPACES)
Distributions = dict[str, BaseDistribution]

DIGESTS: dict[tuple[str, int], str] = {
    ("quick", 1): "f8d306a5168d97ebbf1a16ca67e04dea0eda189733e27a42a5753c81e282679b",
    ("wrn", 1): "d83c7cded823214317a34eb1e34c03cda2d77b3f24fcc2c74d084ac2380c3d03",
}
"""SHA-256 of each version's distributions. A change of a space belongs with a new version and a new
line here: a study that has begun must not go on with other distributions under the old number."""


def ask(name: str, context: SpaceContext, count: int) -> list[Distributions]:
    """The distributions of `count` random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    for trial in trials:
        get_space(name).suggest(trial, context)
    return [trial.distributions for trial in trials]


@functools.cache
def unlimited(name: str) -> list[Distributions]:
    return ask(name, SpaceContext(epochs=9), 500)


def digest(trials: Iterable[Distributions]) -> str:
    union = {(n, distribution_to_json(d)) for trial in trials for n, d in trial.items()}
    return hashlib.sha256(json.dumps(sorted(union)).encode()).hexdigest()


@every_space
def test_a_change_of_the_distributions_needs_a_new_version(name: str) -> None:
    space = get_space(name)
    assert digest(unlimited(name)) == DIGESTS.get((name, space.version)), (
        f"the distributions of space {name!r} are not those of version {space.version}: "
        "raise its version and pin the new digest beside the old ones"
    )


@every_space
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
    "limited",
    [SpaceContext(epochs=3, seed=5, affordable=small), SpaceContext(1, 0, lambda model: False)],
    ids=["small", "nothing"],
)
def test_a_name_keeps_its_kind_scale_and_choices_whatever_is_affordable(
    name: str, limited: SpaceContext
) -> None:
    first: Distributions = {}
    for trial in [*unlimited(name)[:200], *ask(name, limited, 200)]:
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
