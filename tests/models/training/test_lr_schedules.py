"""Schedules against torch's own and by hand, early stopping, and both across a break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import LrScheduleConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.lr_schedules import lr_factor, out_of_patience
from fmnist_models.training.trainer import Trainer
from tests.models.unbroken import assert_a_break_changes_nothing, new_run

MakeConfig = Callable[..., TrialConfig]


def test_step_multiplies_every_so_many_epochs() -> None:
    config = LrScheduleConfig(kind="step", step_epochs=3, step_gamma=0.5)
    steps_per_epoch, epochs = 7, 10
    total = steps_per_epoch * epochs
    for step in range(total):
        factor = lr_factor(config, (step + 0.5) / total, epochs)
        assert factor == 0.5 ** (step // steps_per_epoch // 3)


def test_step_counts_its_epochs_through_the_warm_up() -> None:
    config = LrScheduleConfig(kind="step", step_epochs=2, warmup=0.3)
    assert lr_factor(config, 0.15, 10) == pytest.approx(0.5)
    assert lr_factor(config, 0.35, 10) == pytest.approx(0.1)


@pytest.mark.parametrize(("warmup", "start", "end"), [(0.3, 25.0, 1e4), (0.5, 10.0, 100.0)])
def test_one_cycle_is_that_of_torch(warmup: float, start: float, end: float) -> None:
    total = 1000
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=total,
        pct_start=warmup,
        div_factor=start,
        final_div_factor=end,
        cycle_momentum=False,
    )
    config = LrScheduleConfig(
        kind="one_cycle", warmup=warmup, one_cycle_start=start, one_cycle_end=end
    )
    for step in range(total):
        # torch's first and last step lie on the very ends; ours, at half steps, within them.
        ours = lr_factor(config, step / total)
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=5e-3)
        optimizer.step()
        if step < total - 1:
            theirs.step()
    assert lr_factor(config, 1 - 1e-9) == pytest.approx(1 / (start * end))


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "step", "one_cycle"])
def test_a_break_changes_nothing(few: Dataset, everything_on: MakeConfig, kind: str) -> None:
    schedule = LrScheduleConfig.model_validate({"kind": kind, "warmup": 0.2, "step_epochs": 1})
    curve = assert_a_break_changes_nothing(everything_on(lr_schedule=schedule, epochs=2), few)
    expected = 0.05 * lr_factor(schedule, 9.5 / 10, 2)
    assert curve[-1].lr == pytest.approx(expected)


@pytest.mark.parametrize(
    ("accuracies", "patience", "over"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.5], 2, True),
        ([0.5, 0.4, 0.6, 0.5], 2, False),
        ([0.9, 0.1, 0.2, 0.3], 3, True),
        ([0.9, 0.1, 0.2, 0.3], 0, False),
        ([None] * 9, 1, False),
    ],
)
def test_patience_is_over_when_nothing_got_better(
    accuracies: list[float | None], patience: int, over: bool
) -> None:
    assert out_of_patience(accuracies, patience) is over


def standing_still(patience: int) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "model": {"family": "quick", "width": 8, "depth": 1, "batch_norm": False},
            "optimizer": SgdConfig(lr=1e-12),
            "batch_size": 256,
            "epochs": 6,
            "patience": patience,
        }
    )


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (2, 3), (9, 6)])
def test_a_run_that_gets_no_better_ends_early(few: Dataset, patience: int, epochs: int) -> None:
    run = new_run(standing_still(patience), few)
    assert len(list(run.epochs())) == epochs
    assert run.is_finished
    assert list(run.epochs()) == []


def test_patience_outlasts_a_break(few: Dataset) -> None:
    assert len(assert_a_break_changes_nothing(standing_still(2), few)) == 3


def test_without_validation_patience_has_no_end(few: Dataset) -> None:
    blind = replace(few, validation=few.validation.subset(torch.arange(0)))
    run = Trainer(standing_still(1), blind, device="cpu", precision="fp32")
    assert len(list(run.epochs())) == 6
