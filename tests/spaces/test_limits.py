"""What a space samples where not everything can be afforded, for the spaces whose size has axes."""

from __future__ import annotations

import optuna
import pytest

from fmnist_models.config.base import ModelConfig
from fmnist_models.training.cost import model_cost
from spaces import SpaceContext, get_space

SIZED = pytest.mark.parametrize("name", ["preact", "shake", "densenet", "convnext"])


def sampled(name: str, context: SpaceContext, count: int = 12) -> list[ModelConfig]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [get_space(name).suggest(study.ask(), context).model for _ in range(count)]


@SIZED
def test_nothing_that_cannot_be_afforded_is_sampled(name: str) -> None:
    limit = 1e8  # above the smallest network of each layout
    context = SpaceContext(epochs=1, affordable=lambda model: model_cost(model).macs <= limit)
    macs = [model_cost(model).macs for model in sampled(name, context)]
    assert max(macs) <= limit
    assert max(macs) > limit / 2  # and the limit is used up


@SIZED
def test_with_nothing_affordable_a_space_falls_to_its_smallest(name: str) -> None:
    context = SpaceContext(epochs=1, affordable=lambda model: False)
    macs = {model_cost(model).macs for model in sampled(name, context, 8)}
    if name == "preact":  # of each layout
        assert macs == {9_345_920, 28_573_184}
    elif name == "convnext":  # of each kernel
        assert len(macs) == 3
    else:
        assert len(macs) == 1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("preact", [271_994, 4_325_834]),
        ("shake", [151_930, 2_922_874, 26_192_634, 26_192_634]),
        ("densenet", [102_298, 768_730]),
        ("convnext", [301_098, 2_150_346]),
        ("wrn", [77_562, 174_778, 2_748_602, 36_478_906, 8_976_075]),
    ],
)
def test_the_points_are_the_networks_they_are_named_for(name: str, parameters: list[int]) -> None:
    space = get_space(name)
    context = SpaceContext(epochs=1)
    models = [space.configure(point, context).model for point in space.points]
    assert [model_cost(model).parameters for model in models] == parameters
