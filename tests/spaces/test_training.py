"""The axes that all spaces share: each is sampled, each can be off, points need not name them."""

from __future__ import annotations

import functools
from typing import Any, get_args

import optuna
import pytest

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import OptimizerConfig
from fmnist_models.config.training import AugmentationConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from spaces import SpaceContext
from spaces.points import fill_in_defaults
from spaces.training import CLASSICAL, CORE_OPTIMIZERS, EVERY_OPTIMIZER, suggest_training

MODEL = QuickConfig(width=4, depth=1)


def ask(count: int, context: SpaceContext, **more: Any) -> list[TrialConfig]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest_training(study.ask(), context, "x", MODEL, **more) for _ in range(count)]


@functools.cache
def many() -> list[TrialConfig]:
    return ask(400, SpaceContext(epochs=12), optimizers=EVERY_OPTIMIZER)


def test_every_optimizer_can_be_sampled_and_the_classical_ones_on_demand() -> None:
    union, *_ = get_args(OptimizerConfig)
    kinds = {c.model_fields["kind"].default for c in get_args(union)}
    assert {c.optimizer.kind for c in many()} == kinds == set(EVERY_OPTIMIZER)
    assert {c.optimizer.kind for c in ask(100, SpaceContext(epochs=3))} == set(CORE_OPTIMIZERS)
    assert not set(CORE_OPTIMIZERS) & set(CLASSICAL)


@pytest.mark.parametrize("part", ["augmentation", "regularization"])
def test_every_ingredient_is_sampled_on_and_off(part: str) -> None:
    fields = {"augmentation": AugmentationConfig, "regularization": RegularizationConfig}[part]
    for name, field in fields.model_fields.items():
        found = {getattr(getattr(config, part), name) for config in many()}
        assert len(found) > 1, name
        if name != "label_smoothing":
            assert field.default in found, name
    assert {c.patience for c in many()} == {0, 3, 10}
    assert {c.loss.kind for c in many()} == {"cross_entropy", "arcface", "sphereface"}
    assert {c.lr_schedule.kind for c in many()} == {
        "constant",
        "cosine",
        "linear",
        "one_cycle",
        "step",
    }


def test_steps_come_within_the_run() -> None:
    for config in many():
        if config.lr_schedule.kind == "step":
            assert 3 <= config.lr_schedule.step_epochs <= 6


def test_sam_is_sampled_only_where_two_passes_are_affordable() -> None:
    def never(model: ModelConfig) -> bool:
        return False

    context = SpaceContext(epochs=3, affordable_twice=never)
    assert {c.regularization.sam_rho for c in ask(50, context)} == {0.0}


def test_a_point_is_completed_by_what_is_off() -> None:
    point = {"a.b.optimizer": "sgd", "a.b.mixing": "cutmix", "a.b.ema_decay": 0.0}
    assert fill_in_defaults(point) == {
        **point,
        "a.b.policy": "none",
        "a.b.clip_norm": 0.0,
        "a.b.decay_vectors": False,
        "a.b.patience": 0,
        "a.b.sam": False,
        "a.b.loss": "cross_entropy",
        "a.b.sgd.nesterov": True,
        "a.b.swa_fraction": 0.0,
    }
    assert fill_in_defaults({"c.optimizer": "adam"})["c.adam.amsgrad"] is False
    assert fill_in_defaults({"c.width": 3}) == {"c.width": 3}
