"""The known-good points are the published networks, and what is sampled can be afforded."""

from __future__ import annotations

import optuna
import pytest

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.mlp import MlpConfig
from fmnist_models.families.mobilenet import MobilenetConfig
from fmnist_models.families.vgg import VggConfig
from fmnist_models.training.cost import model_cost
from spaces import SPACES, SpaceContext, get_space
from spaces.cnn import layers


def points(name: str) -> list[TrialConfig]:
    space = get_space(name)
    return [space.configure(point, SpaceContext(epochs=1)) for point in space.points]


def test_the_points_of_cnn_are_the_published_networks() -> None:
    stacks = {str(c.model.model_dump()["layers"]): c.model for c in points("cnn")}
    counts = {stack: model_cost(model).parameters for stack, model in stacks.items()}
    assert counts == {
        "(32, 32, 'P', 'D', 64, 64, 'P', 'D')": 468_074,
        "(32, 32, 'D', 64, 'P', 'D', 128, 128, 256, 'P', 'D')": 7_001_194,
        "(32, 'P', 'D', 64, 'P', 'D')": 582_026,
        "(64, 64, 'P', 'D', 128, 128, 'P', 'D')": 4_458_826,
        "(64, 64, 'P', 'D', 128, 128, 'P', 'D', 256, 256, 'P', 'D')": 4_427_082,
        "(64, 64, 'P', 'D', 128, 128, 'P', 'D', 256, 256, 'P', 'D', 512, 512, 'P', 'D')": 7_050_570,
    }


def test_the_published_points_of_the_others_are_the_published_networks() -> None:
    assert points("mlp")[0].model == MlpConfig(depth=1, width=128)
    assert points("vgg")[-1].model == VggConfig(depth=11, dropout=0.5)
    mobilenet = points("mobilenet")[0]
    assert mobilenet.model == MobilenetConfig(version="v1", resolution=56, dropout=0.25)
    assert mobilenet.augmentation.flip


def test_channels_of_a_stack_double_and_end_at_512() -> None:
    assert layers(2, 1, 16, widen=True) == (32, "P", "D", 128, "P", "D")
    numbers = [n for n in layers(4, 2, 64, widen=True) if isinstance(n, int)]
    assert numbers == [64, 128, 256, 512, 512, 512, 512, 512]


LIMITS = {"mlp": 500_000, "cnn": 20_000_000, "vgg": 20_000_000, "mobilenet": 10_000_000}


def below(model: ModelConfig) -> bool:
    return model_cost(model).macs <= LIMITS[model.family]


@pytest.mark.parametrize("name", LIMITS)
def test_nothing_is_sampled_that_cannot_be_afforded(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    macs = []
    for _ in range(10):
        config = get_space(name).suggest(study.ask(), SpaceContext(1, affordable=below))
        macs.append(model_cost(config.model).macs)
    assert LIMITS[name] / 4 < max(macs) <= LIMITS[name]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_where_no_point_is_affordable_one_of_smaller_size_is_tried(name: str) -> None:
    space = get_space(name)
    everything = SpaceContext(epochs=9)
    costs = {p: model_cost(space.configure(p, everything).model).macs for p in space.points}
    least = min(costs.values())

    def affordable(model: ModelConfig) -> bool:
        return model_cost(model).macs < least

    context = SpaceContext(9, affordable=affordable)
    points = space.affordable_points(context)
    for point, params in points.items():
        original = point.removesuffix(", smaller")
        config = space.configured(params, context)
        assert affordable(config.model)
        assert set(params) == set(space.points[original])
        other = {k for k, value in params.items() if value != space.points[original][k]}
        assert other
        assert all(isinstance(params[k], int) for k in other)
    if name in ("quick", "cnn", "vgg", "densenet", "convnext", "preact"):
        assert len(points) == 1


@pytest.mark.parametrize(
    ("widest", "points"),
    [
        (8, ["quick-2-8"]),
        (16, ["quick-2-8", "quick-2-16"]),
        (32, ["quick-2-16", "quick-2-32"]),
    ],
)
def test_of_quick_the_two_largest_points_that_are_affordable_are_tried(
    widest: int, points: list[str]
) -> None:
    def affordable(model: ModelConfig) -> bool:
        return bool(model.model_dump()["width"] <= widest)

    space = get_space("quick")
    assert list(space.affordable_points(SpaceContext(9, affordable=affordable))) == points


def test_where_no_quick_point_is_affordable_the_first_is_made_smaller() -> None:
    def affordable(model: ModelConfig) -> bool:
        return bool(model.model_dump()["depth"] == 1 and model.model_dump()["width"] == 8)

    space = get_space("quick")
    found = space.affordable_points(SpaceContext(9, affordable=affordable))
    assert found == {"quick-2-8, smaller": {**space.points["quick-2-8"], "quick.depth": 1}}


@pytest.mark.parametrize(("widest", "point"), [(8, "quick/quick-2-8"), (32, "quick/quick-2-32")])
def test_in_all_one_quick_point_is_tried(widest: int, point: str) -> None:
    def affordable(model: ModelConfig) -> bool:
        return model.family == "quick" and model.width <= widest

    space = get_space("all")
    assert list(space.affordable_points(SpaceContext(9, affordable=affordable))) == [point]
