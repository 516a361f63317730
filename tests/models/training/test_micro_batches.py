"""Batches in parts: the same step with less memory, whatever else is switched on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from fmnist_models.config.optimizers import MuonConfig, ScheduleFreeConfig, SgdConfig
from fmnist_models.config.training import (
    ArcFaceConfig,
    AugmentationConfig,
    LrScheduleConfig,
    RegularizationConfig,
)
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.mlp import MlpConfig
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.trainer import Trainer
from tests.models.unbroken import figures

PLAIN = QuickConfig(width=8, depth=1, batch_norm=False)


def config_of(**changes: Any) -> TrialConfig:
    parts: dict[str, Any] = {
        "model": PLAIN,
        "optimizer": SgdConfig(lr=0.02),
        "batch_size": 100,
        "epochs": 2,
        "seed": 3,
    }
    return TrialConfig(**{**parts, **changes})


def run(config: TrialConfig, dataset: Dataset, micro_batches: int) -> Trainer:
    return Trainer(config, dataset, device="cpu", precision="fp32", micro_batches=micro_batches)


INGREDIENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dense": {"model": MlpConfig(depth=2, width=64)},
    "SAM": {"regularization": RegularizationConfig(sam_rho=0.05)},
    "clipping": {"regularization": RegularizationConfig(clip_norm=0.05)},
    "smoothing, EMA": {"regularization": RegularizationConfig(label_smoothing=0.1, ema_decay=0.9)},
    "mixing": {"augmentation": AugmentationConfig(mixing="cutmix", flip=True, shift=2, cutout=8)},
    "margin": {"loss": ArcFaceConfig(), "augmentation": AugmentationConfig(mixing="mixup")},
    "SWA": {"regularization": RegularizationConfig(swa_fraction=0.5)},
    "Schedule-Free": {
        "optimizer": ScheduleFreeConfig(lr=1e-3),
        "lr_schedule": LrScheduleConfig(kind="constant"),
    },
}


@pytest.mark.parametrize(
    ("name", "micro_batches"),
    [("plain", 2), *((name, 3) for name in INGREDIENTS)],  # 3: of 34, 33 and 33 images
)
def test_without_batch_norm_the_parts_make_the_undivided_step(
    few: Dataset, name: str, micro_batches: int
) -> None:
    config = config_of(**INGREDIENTS[name])
    whole, parts = run(config, few, 1), run(config, few, micro_batches)
    for one, other in zip(whole.epochs(), parts.epochs(), strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert other.train_accuracy == pytest.approx(one.train_accuracy, abs=0.01)
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-3)
    for one, other in (
        (whole.model, parts.model),
        (whole.averaged_model, parts.averaged_model),
    ):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert (a - b).norm() < 1e-3 * a.norm() + 1e-5


def test_one_part_is_the_undivided_step_to_the_last_bit(few: Dataset) -> None:
    config = config_of(model=QuickConfig(width=8, depth=1, dropout=0.2))
    usual = Trainer(config, few, device="cpu", precision="fp32")
    assert [figures(m) for m in usual.epochs()] == [
        figures(m) for m in run(config, few, 1).epochs()
    ]


def test_uneven_parts_count_by_their_images(few: Dataset) -> None:
    config = config_of(batch_size=10, epochs=1)
    tiny = replace(few, train=few.train.subset(torch.arange(10)))
    whole, parts = run(config, tiny, 1), run(config, tiny, 4)  # 3, 3, 2 and 2 images
    one, other = whole.run_epoch(), parts.run_epoch()
    assert other.train_loss == pytest.approx(one.train_loss, rel=1e-5)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_there_are_no_more_parts_than_images(few: Dataset) -> None:
    trainer = run(config_of(batch_size=4, epochs=1), few, 1000)
    assert trainer.micro_batches == 4
    assert trainer.run_epoch().epoch == 1


class Sizes:
    """How many images a network is given at a time."""

    def __init__(self, model: nn.Module) -> None:
        self.training: set[int] = set()
        self.scored: set[int] = set()
        model.register_forward_pre_hook(self.note)

    def note(self, model: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        (self.training if model.training else self.scored).add(len(inputs[0]))


def test_fewer_images_are_held_at_a_time(data: Dataset) -> None:
    trainer = run(config_of(epochs=1), data, 4)
    sizes = Sizes(trainer.model)
    trainer.run_epoch()
    assert sizes.training == {25}
    assert sizes.scored == {250}


def test_with_batch_norm_the_curve_stays_near(few: Dataset) -> None:
    config = config_of(model=QuickConfig(width=8, depth=1), epochs=4)
    whole, parts = run(config, few, 1), run(config, few, 2)
    *_, one = whole.epochs()
    *_, other = parts.epochs()
    assert other.train_loss == pytest.approx(one.train_loss, rel=0.2)
    assert other.val_loss == pytest.approx(one.val_loss, rel=0.4)


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_running_statistics_forget_as_much_a_step(few: Dataset, micro_batches: int) -> None:
    """What is left of the start, 0 for the mean and 1 for the variance, after one step."""
    config = config_of(model=QuickConfig(width=8, depth=1, bn_momentum=0.3), batch_size=512)
    trainer = run(config, few, micro_batches)
    norms = [m for m in trainer.model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms if m.momentum is not None]
    assert [(1 - m) ** micro_batches for m in momenta] == pytest.approx([0.7] * len(norms))
    trainer.run_epoch()
    assert {int(m.num_batches_tracked or 0) for m in norms} == {micro_batches}


def test_a_run_may_go_on_with_other_parts(few: Dataset) -> None:
    config = config_of(optimizer=MuonConfig(lr=1e-3))
    whole, parts = run(config, few, 1), run(config, few, 2)
    whole.run_epoch()
    parts.load_state_dict(whole.state_dict())
    one, other = whole.run_epoch(), parts.run_epoch()
    assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
