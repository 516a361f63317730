"""SWA, gradient clipping, decay of vectors: by hand, and across a break."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fmnist_models.config.optimizers import MuonConfig, SgdConfig
from fmnist_models.config.registry import build_model
from fmnist_models.config.training import RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.optimizers import build_optimizer
from fmnist_models.training.weight_averages import refresh_norms
from tests.models.unbroken import assert_a_break_changes_nothing, new_run

MakeConfig = Callable[..., TrialConfig]


def swa(make: MakeConfig, fraction: float, epochs: int, **changes: Any) -> TrialConfig:
    regularization = RegularizationConfig(swa_fraction=fraction)
    return make(regularization=regularization, epochs=epochs, batch_size=256, **changes)


@pytest.mark.parametrize(("fraction", "averaged"), [(0.5, 2), (0.3, 2), (0.9, 4), (0.01, 1)])
def test_swa_is_the_mean_of_the_last_epochs(
    few: Dataset, everything_on: MakeConfig, fraction: float, averaged: int
) -> None:
    run = new_run(swa(everything_on, fraction, 4), few)
    ends: list[list[Tensor]] = []
    for metrics in run.epochs():
        ends.append([p.detach().clone() for p in run.model.parameters()])
        last = ends[-1:] if metrics.epoch <= 4 - averaged else ends[4 - averaged :]
        for mean, *values in zip(run.averaged_model.parameters(), *last, strict=True):
            torch.testing.assert_close(mean.detach(), torch.stack(values).mean(0))
    assert metrics.val_accuracy is not None


def test_a_break_changes_nothing_before_or_within_the_average(
    few: Dataset, everything_on: MakeConfig
) -> None:
    for fraction in (0.4, 0.9):
        assert_a_break_changes_nothing(swa(everything_on, fraction, 3), few)


def test_there_is_one_average() -> None:
    with pytest.raises(ValueError, match="there is one average"):
        TrialConfig(
            model=QuickConfig(),
            optimizer=SgdConfig(lr=0.1),
            regularization=RegularizationConfig(ema_decay=0.9, swa_fraction=0.5),
            epochs=3,
        )


def test_refreshed_norms_hold_the_plain_mean_over_the_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5))
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    batches = [torch.randn(8, 3, 4, 4) * 2 + 1 for _ in range(5)]
    state = torch.get_rng_state()
    refresh_norms(model, lambda m: [m(batch) for batch in batches])
    assert torch.equal(torch.get_rng_state(), state)  # dropout drew nothing
    means = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    spread = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, spread)
    assert (norm.momentum, norm.training) == (0.3, False)


def test_without_batch_norms_nothing_is_computed() -> None:
    refresh_norms(nn.Linear(2, 2), lambda model: pytest.fail("not needed"))


@pytest.mark.parametrize("limit", [1e-3, 1e6])
def test_long_gradients_are_shortened_and_short_ones_kept(
    few: Dataset, everything_on: MakeConfig, limit: float
) -> None:
    runs = [
        new_run(everything_on(regularization=RegularizationConfig(clip_norm=clip)), few)
        for clip in (0.0, limit)
    ]
    lengths = []
    for run in runs:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            run.model.train()
            run.step(*run._batch(torch.arange(64)))
        squares = [p.grad.square().sum() for p in run.model.parameters() if p.grad is not None]
        lengths.append(math.sqrt(sum(s.item() for s in squares)))
    assert lengths[1] == pytest.approx(min(lengths[0], limit), rel=1e-3)
    assert lengths[0] > 1e-2


@pytest.mark.parametrize("config", [SgdConfig(lr=0.1), MuonConfig(lr=0.1)], ids=["sgd", "muon"])
def test_vectors_decay_where_they_are_told_to(config: SgdConfig | MuonConfig) -> None:
    model = build_model(QuickConfig(width=8, depth=1), 10)
    optimizer = build_optimizer(model, config, decay_vectors=True)
    assert {g["weight_decay"] for g in optimizer.param_groups} == {config.weight_decay}


def test_the_engine_passes_the_switch_on(few: Dataset, everything_on: MakeConfig) -> None:
    run = new_run(everything_on(regularization=RegularizationConfig(decay_vectors=True)), few)
    assert {g["weight_decay"] for g in run.optimizer.param_groups} == {5e-4}
