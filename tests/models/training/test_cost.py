"""What a configuration costs: counted exactly, fitted without negative prices, near the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import FAMILIES, build_model, get_family
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.cost import (
    VALIDATION_SHARE,
    CostModel,
    ModelCost,
    calibrate,
    fit_times,
    model_cost,
)
from fmnist_models.training.trainer import Trainer

MakeConfig = Callable[..., TrialConfig]


def test_the_counts_of_a_small_network_are_those_by_hand() -> None:
    first = 28 * 28 * 4  # values that a convolution from 1 to 4 channels writes
    second = 14 * 14 * 8
    third = 7 * 7 * 16
    macs = first * 9 + second * 9 * 4 + third * 9 * 8 + 16 * 10
    # After the first two come pool, norm and activation on a quarter; after the third no pool.
    activations = first + 3 * first // 4 + second + 3 * second // 4 + 3 * third + 10
    parameters = (9 * 4 + 8) + (9 * 4 * 8 + 16) + (9 * 8 * 16 + 32) + (16 * 10 + 10)
    config = QuickConfig(width=4, depth=1, dropout=0.5)
    assert model_cost(config) == ModelCost(macs, activations, activations, parameters)
    assert model_cost(config, classes=3).macs == macs - 16 * 7


@pytest.mark.parametrize("name", FAMILIES)
def test_counting_agrees_with_the_network_and_draws_nothing(name: str) -> None:
    config = get_family(name).example
    state = torch.get_rng_state()
    model_cost.cache_clear()
    cost = model_cost(config)
    assert torch.equal(torch.get_rng_state(), state)
    model = build_model(config, 10)
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    multiplied: list[int] = []
    for module in weighted:
        module.register_forward_hook(
            lambda layer, _, output: multiplied.append(output.numel() * layer.weight[0].numel())
        )
    model.eval()(torch.zeros(1, 1, 28, 28))
    assert cost.macs == sum(multiplied)
    assert cost.activations > sum(len(m.weight) for m in weighted)
    if any(isinstance(m, nn.Conv2d) for m in weighted):
        assert cost.activations > 28 * 28


def test_a_wider_and_a_deeper_network_cost_more() -> None:
    costs = [model_cost(WrnConfig(depth=d, width=w)) for d, w in ((10, 1), (16, 1), (16, 2))]
    for less, more in pairwise(costs):
        assert less.macs < more.macs
        assert less.activations < more.activations


COUNTS = [(1_000_000, 50_000), (5_000_000, 90_000), (9_000_000, 400_000), (200_000, 30_000)]


def priced(a: float, b: float, c: float = 0.0) -> list[float]:
    """Seconds an image if each multiply-accumulate takes a, each value b, and the rest c."""
    return [a * macs + b * activations + c for macs, activations in COUNTS]


def prices(model: CostModel) -> tuple[float, float, float]:
    return model.seconds_per_mac, model.seconds_per_pass, model.seconds_per_image


@pytest.mark.parametrize(
    "known",
    [
        (2e-9, 3e-8, 1e-3),
        (2e-9, 3e-8, 0.0),
        (0.0, 3e-8, 0.0),
        (2e-9, 0.0, 1e-4),
        (0.0, 0.0, 0.02),
    ],
)
def test_fit_recovers_known_coefficients(known: tuple[float, float, float]) -> None:
    found = fit_times(COUNTS, priced(*known))
    assert prices(found) == pytest.approx(known, rel=1e-6, abs=1e-15)


def test_fit_is_never_negative_and_predicts_something() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        seconds = (10 ** (-3 * torch.rand(4, generator=generator))).tolist()
        found = prices(fit_times(COUNTS, seconds))
        assert min(found) >= 0
        assert max(found) > 0


@pytest.mark.parametrize(("a", "b"), [(-1e-9, 1e-6), (1e-7, -1e-7)])
def test_fit_sets_a_price_that_would_be_negative_to_zero(a: float, b: float) -> None:
    found = prices(fit_times(COUNTS, priced(a, b)))
    assert found[0 if a < 0 else 1] == 0
    assert found[1 if a < 0 else 0] > 0


def test_one_probe_is_enough_to_fit() -> None:
    a, b, c = prices(fit_times([(1_000, 100)], [0.5]))
    assert a * 1_000 + b * 100 + c == pytest.approx(0.5)


def test_seconds_add_up_over_images() -> None:
    model = CostModel(seconds_per_mac=1e-9, seconds_per_pass=1e-8, seconds_per_image=1e-5)
    config = QuickConfig(width=4, depth=1)
    cost = model_cost(config)
    image = 1e-9 * cost.macs + 1e-8 * cost.passes + 1e-5
    assert model.image_seconds(config) == pytest.approx(image)
    assert model.epoch_seconds(config, 100, 0) == pytest.approx(100 * image)
    assert model.epoch_seconds(config, 100, 30) == pytest.approx(
        (100 + 30 * VALIDATION_SHARE) * image
    )


def nets(*sizes: tuple[int, int]) -> list[TrialConfig]:
    return [
        TrialConfig(
            model=QuickConfig(width=width, depth=depth),
            optimizer=SgdConfig(lr=0.01),
            batch_size=64,
            epochs=1,
        )
        for width, depth in sizes
    ]


def test_a_calibrated_model_predicts_another_network_within_a_factor_of_two(few: Dataset) -> None:
    part = replace(few, validation=few.validation.subset(torch.arange(0)))
    (other,) = nets((16, 2))
    state = torch.get_rng_state()
    ratios = []
    for _ in range(3):  # who else is at work on this machine changes from second to second
        model = calibrate(nets((8, 1), (24, 1), (16, 3)), part, device="cpu", precision="fp32")
        trainer = Trainer(other, part, device="cpu", precision="fp32")
        measured = 1 / max(trainer.run_epoch().images_per_second for _ in range(2))
        ratios.append(model.image_seconds(other.model) / measured)
        if 0.5 < ratios[-1] < 2:
            break
    assert 0.5 < ratios[-1] < 2, ratios
    assert torch.equal(torch.get_rng_state(), state)


def test_calibrating_works_with_less_data_than_a_probe_would_use(few: Dataset) -> None:
    part = replace(few, train=few.train.subset(torch.arange(70)))
    model = calibrate(nets((8, 1)), part, device="cpu", precision="fp32")
    assert model.image_seconds(QuickConfig(width=8, depth=1)) > 0
