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
    ("quick", 1): "3f3c1053cfbd23cf6cbeefb3e528389e27659a3f5f8351f4ecb8b990c3d63cb0",
    ("mlp", 1): "98b25ebbb0e136ebc37f7acf15385dc1fbaa453f3eb3596289ed8965f357c6d9",
    ("cnn", 1): "9544c0921815457bb3ac7af638d371f5aa86b132517474b999166a6e35f409ac",
    ("vgg", 1): "a4eac1cd7e8615900f97e1f4432895f8988f6ec936e7825def3ddcb07edd569b",
    ("mobilenet", 1): "ad5cf9afcd8d412fac67d2d96765d405a17166af5ab68c8005eeeaf00a82738f",
    ("wrn", 1): "92996ebef8e3320ab2fcac76b9ce97eeca98c5c5ada6346b6356ace28b41854f",
    ("wrn", 1): "ae1cfdadc6a3c3ef84a8fa13350911eed3b9c77f4d60e98c74f10674a28f8392",
    ("preact", 1): "0e0ea77a7d9f65eca193e00f273410eda206187eb1a325b43101a96f17b8f066",
    ("shake", 1): "2f847d092a69ecf38c5ac8be9bf289d0899b1bbca0f5ef4f0d778ef4978942a1",
    ("densenet", 1): "d410191cb05306b7ca96f7179e0f6eaf569b180ce8f821f02d893d1b1a3c11b4",
    ("convnext", 1): "50ab73a26ec9622a4bba9e987efd5b6a5e2ff4010d7e512d27e2a6844f60c3b9",
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
