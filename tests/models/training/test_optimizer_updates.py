"""Optimizers, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from fmnist_models.config.optimizers import AdamWConfig, OptimizerConfig, SgdConfig
from fmnist_models.config.registry import FAMILIES, build_model, get_family
from fmnist_models.config.training import LrScheduleConfig
from fmnist_models.training.lr_schedules import lr_factor
from fmnist_models.training.optimizers import build_optimizer
from fmnist_models.training.weight_averages import WeightAverage

KINDS = get_args(LrScheduleConfig.model_fields["kind"].annotation)
OPTIMIZERS: list[OptimizerConfig] = [
    SgdConfig(lr=0.05),
    SgdConfig(lr=0.05, nesterov=False),
    SgdConfig(lr=0.1, momentum=0.0),
    AdamWConfig(lr=0.02),
]


@pytest.mark.parametrize("config", OPTIMIZERS, ids=repr)
def test_an_optimizer_lowers_the_loss(config: OptimizerConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    y = x @ torch.randn(5, 1, generator=generator) + 1
    model = nn.Linear(5, 1)
    nn.init.zeros_(model.weight)
    optimizer = build_optimizer(model, config)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = mse_loss(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_steps_as_written(nesterov: bool) -> None:
    config = SgdConfig(lr=0.1, momentum=0.8, nesterov=nesterov, weight_decay=0.01)
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, config)
    weight, velocity = 2.0, 0.0
    for gradient in (1.0, -0.5, 3.0):
        model.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        decayed = gradient + 0.01 * weight
        velocity = 0.8 * velocity + decayed
        weight -= 0.1 * (decayed + 0.8 * velocity if nesterov else velocity)
        assert model.weight.item() == pytest.approx(weight, abs=1e-6)


def test_adamw_decays_apart_from_the_gradient() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, AdamWConfig(lr=0.1, weight_decay=0.5, beta1=0.5, beta2=0.9))
    model.weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    # The first step of Adam has the length lr, whatever the gradient.
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    group = optimizer.param_groups[0]
    assert (group["betas"], group["lr"]) == ((0.5, 0.9), 0.1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("config", [OPTIMIZERS[0], OPTIMIZERS[-1]], ids=["sgd", "adamw"])
def test_biases_and_norms_do_not_decay_and_all_else_does(
    name: str, config: OptimizerConfig
) -> None:
    model = build_model(get_family(name).example, 10)
    decays = {
        id(parameter): group["weight_decay"]
        for group in build_optimizer(model, config).param_groups
        for parameter in group["params"]
    }
    assert len(decays) == len(list(model.parameters()))
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            norm = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm)
            free = norm or kind in ("bias", "layer_scale")
            assert decays[id(parameter)] == (0 if free else config.weight_decay)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_lr_factor_rises_in_warm_up_and_never_after(kind: str, warmup: float) -> None:
    config = LrScheduleConfig.model_validate({"kind": kind, "warmup": warmup})
    grid = [i / 10_000 for i in range(10_000)]
    factors = [lr_factor(config, p) for p in grid]
    assert all(0 <= f <= 1 for f in factors)
    if kind == "one_cycle":
        first, top = (1 / 25, 1.0) if warmup else (1.0, 1.0)
        assert factors[0] == pytest.approx(first)
        assert max(factors) == pytest.approx(top)
        assert factors[-1] == pytest.approx(1 / 25e4, abs=1e-6)
        return
    start = round(warmup * 10_000)
    rise, fall = factors[: start + 1], factors[start:]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert factors[0] == (0.0 if warmup else 1.0)
    assert max(factors) == factors[start] == 1.0
    assert factors[-1] == pytest.approx(1.0 if kind in ("constant", "step") else 0.0, abs=1e-3)
    jumps = [abs(a - b) for a, b in pairwise(factors)]
    assert max(jumps) < 1e-3


def test_lr_factor_half_way() -> None:
    middle = {"constant": 1.0, "linear": 0.5, "cosine": 0.5}
    quarter = {"constant": 1.0, "linear": 0.75, "cosine": (1 + math.sqrt(0.5)) / 2}
    for kind in middle:
        config = LrScheduleConfig.model_validate({"kind": kind})
        assert lr_factor(config, 0.5) == pytest.approx(middle[kind])
        assert lr_factor(config, 0.25) == pytest.approx(quarter[kind])


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def numbers(model: nn.Module) -> dict[str, list[float]]:
    """The floating-point part of a model's state as plain numbers."""
    state = model.state_dict()
    return {key: t.flatten().tolist() for key, t in state.items() if t.is_floating_point()}


def test_the_average_is_that_of_plain_arithmetic_buffers_included() -> None:
    generator = torch.Generator().manual_seed(0)
    model, average = network(), network()
    ema = WeightAverage(model, average, decay=0.6)
    expected = numbers(model)
    assert numbers(average) == expected
    for step in range(12):
        model(torch.randn(8, 3, generator=generator))  # moves the batch norm's statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        ema.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        for key, values in numbers(model).items():
            expected[key] = [
                decay * old + (1 - decay) * new
                for old, new in zip(expected[key], values, strict=True)
            ]
        for key, values in numbers(average).items():
            assert values == pytest.approx(expected[key], rel=1e-4, abs=1e-5)
    assert "1.running_var" in expected
    assert expected["1.running_var"] != numbers(model)["1.running_var"]
    assert ema.average is average


def test_the_decay_grows_from_a_tenth_to_what_was_asked_for() -> None:
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    ema = WeightAverage(model, average, decay=0.5)
    for step, decay in ((0, 0.1), (7, 8 / 17), (8, 0.5), (10_000, 0.5)):
        nn.init.zeros_(average.weight)
        nn.init.ones_(model.weight)
        ema.update(step)
        assert average.weight.item() == pytest.approx(1 - decay)


def test_without_decay_the_average_is_the_model_itself() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    ema = WeightAverage(model, network(), decay=0.0)
    ema.update(0)
    assert ema.average is model
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_average_stays_one_after_a_state_is_loaded() -> None:
    model, average = network(), network()
    ema = WeightAverage(model, average, decay=0.5)
    model.load_state_dict(network().state_dict())
    average.load_state_dict(network().state_dict())
    start, live = numbers(average), numbers(model)
    ema.update(1_000)
    for key, values in numbers(average).items():
        assert values == pytest.approx(
            [(a + b) / 2 for a, b in zip(start[key], live[key], strict=True)], abs=1e-6
        )
