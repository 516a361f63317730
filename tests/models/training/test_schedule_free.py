"""Schedule-Free: scored at its average, trained on where it was."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fmnist_models.config.optimizers import ScheduleFreeConfig
from fmnist_models.config.training import LrScheduleConfig, RegularizationConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.training.trainer import Trainer
from tests.models.training.test_optimizers import trial
from tests.models.unbroken import new_run


def test_without_its_package_schedule_free_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, fewer: Dataset
) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ConfigError, match=r"run: pip install schedulefree$") as caught:
        new_run(trial(ScheduleFreeConfig(lr=0.1)), fewer)
    assert "\n" not in str(caught.value)


def test_schedule_free_is_scored_at_its_average_and_trains_on_where_it_was(few: Dataset) -> None:
    run = new_run(trial(ScheduleFreeConfig(lr=5e-3), batch_size=128), few)
    run.run_epoch()
    assert all(group["train_mode"] for group in run.optimizer.param_groups)
    kept = [p.detach().clone() for p in run.model.parameters()]
    run.average.end_epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(kept, run.model.parameters(), strict=True))
    optimizer: Any = run.optimizer
    for y, x in zip(run.model.parameters(), run.averaged_model.parameters(), strict=True):
        # y = (1 - beta1) z + beta1 x (arXiv:2405.15682, equation 3)
        torch.testing.assert_close(0.1 * optimizer.state[y]["z"] + 0.9 * x, y)
    assert_statistics_are_those_of_the_images(run, few)


def assert_statistics_are_those_of_the_images(run: Trainer, few: Dataset) -> None:
    """The first norm of `averaged_model` has the mean over the training images, all one batch."""
    first = next(m for m in run.averaged_model.modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        run.averaged_model.eval()(few.normalization(few.train.images))
    hook.remove()
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, seen[0].mean((0, 2, 3)), rtol=2e-3, atol=2e-4)


def test_schedule_free_refuses_a_falling_rate_and_a_second_average() -> None:
    with pytest.raises(ValueError, match=r"needs lr_schedule\.kind \"constant\""):
        trial(ScheduleFreeConfig(lr=0.1), lr_schedule=LrScheduleConfig())
    with pytest.raises(ValueError, match="set ema_decay and swa_fraction to 0"):
        trial(ScheduleFreeConfig(lr=0.1), regularization=RegularizationConfig(ema_decay=0.9))
