"""Mixing: the targets are the shares of what is in the picture, and add to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from fmnist_models.augmentation.mixing import Mixer
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from tests.models.unbroken import assert_a_break_changes_nothing, new_run

METHODS = ["mixup", "cutmix", "ricap"]
COUNT = 400
MakeConfig = Callable[..., TrialConfig]
every_method = pytest.mark.parametrize("mixing", METHODS)


def mixer(seed: int = 1, classes: int = COUNT, **config: Any) -> Mixer:
    generator = torch.Generator().manual_seed(seed)
    return Mixer(AugmentationConfig(**config), classes, generator)


def coloured() -> tuple[Tensor, Tensor]:
    """Each image has a grey of its own and is a class of its own, so that pixels tell labels."""
    greys = torch.arange(COUNT)
    return greys.float()[:, None, None, None].expand(-1, 1, 28, 28).contiguous(), greys


@every_method
@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0, 8.0])
def test_the_targets_add_to_one_and_are_shares(mixing: str, alpha: float) -> None:
    images, labels = coloured()
    mixed, targets = mixer(mixing=mixing, mixing_alpha=alpha)(images, labels)
    assert mixed.shape == images.shape
    assert (targets.shape, targets.dtype) == ((COUNT, COUNT), torch.float32)
    assert ((targets >= 0) & (targets <= 1)).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    assert (targets > 0).sum(1).max() <= (4 if mixing == "ricap" else 2)


@pytest.mark.parametrize("mixing", ["cutmix", "ricap"])
def test_a_share_is_that_of_the_pixels(mixing: str) -> None:
    images, labels = coloured()
    mixed, targets = mixer(mixing=mixing)(images, labels)
    pixels = one_hot(mixed.flatten(1).round().long(), COUNT).float().mean(1)
    torch.testing.assert_close(pixels, targets, rtol=0, atol=1e-5)


def test_mixup_blends_the_pixels_as_the_labels() -> None:
    images, labels = coloured()
    mixed, targets = mixer(mixing="mixup")(images, labels)
    expected = targets @ torch.arange(COUNT, dtype=torch.float32)
    torch.testing.assert_close(mixed[:, 0, 3, 5], expected, rtol=1e-4, atol=1e-2)
    assert torch.equal(mixed[:, 0, 3, 5], mixed[:, 0, 20, 1])


def test_cutmix_pastes_one_rectangle_at_its_own_place(few: Dataset) -> None:
    images, labels = coloured()
    mixed, _ = mixer(mixing="cutmix")(images, labels)
    foreign = mixed[:, 0] != images[:, 0]
    rows, columns = foreign.any(2), foreign.any(1)
    assert torch.equal(foreign, rows[:, :, None] & columns[:, None, :])
    height, width = rows.sum(1), columns.sum(1)
    inside = (height > 0) & ~rows[:, [0, -1]].any(1) & ~columns[:, [0, -1]].any(1)
    assert inside.any()
    assert torch.equal(height[inside], width[inside])


def test_ricap_puts_four_crops_together_each_from_its_image(few: Dataset) -> None:
    pixels = torch.arange(28 * 28, dtype=torch.float32).view(1, 1, 28, 28)
    images = pixels + 1000 * torch.arange(50)[:, None, None, None]
    mixed, _ = mixer(mixing="ricap", classes=50)(images, torch.arange(50))
    step_right = mixed[:, 0, :, 1:] - mixed[:, 0, :, :-1]
    step_down = mixed[:, 0, 1:] - mixed[:, 0, :-1]
    # Within a crop the neighbours of a pixel are those it had: only at one cut they are not.
    assert ((step_right != 1).any(1).sum(1) <= 1).all()
    assert ((step_down != 28).any(2).sum(1) <= 1).all()
    assert len({int(v) for v in (mixed[0, 0] // 1000).unique()}) > 1


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_those_of_a_beta_distribution(alpha: float) -> None:
    shares = mixer(mixing="mixup", mixing_alpha=alpha)._beta(torch.zeros(20_000, 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    assert shares.isfinite().all()


@every_method
def test_some_are_left_alone_exactly(mixing: str) -> None:
    images, labels = coloured()
    for probability in (0.0, 0.5):
        make = mixer(mixing=mixing, mixing_probability=probability)
        mixed, targets = make(images, labels)
        alone = (mixed == images).flatten(1).all(1)
        assert alone.float().mean().item() == pytest.approx(1 - probability, abs=0.1)
        assert torch.equal(targets.argmax(1)[alone], labels[alone])
        assert (targets.amax(1)[alone] == 1).all()


@every_method
def test_the_seed_alone_decides(mixing: str) -> None:
    images, labels = coloured()
    first, again, other = (mixer(seed, mixing=mixing)(images, labels) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(images, coloured()[0])


@every_method
def test_a_break_changes_nothing(few: Dataset, everything_on: MakeConfig, mixing: str) -> None:
    augmentation = AugmentationConfig(flip=True, policy="randaugment", mixing=mixing)  # type: ignore[arg-type]
    config = everything_on(augmentation=augmentation, epochs=2, batch_size=256)
    for metrics in assert_a_break_changes_nothing(config, few):
        assert 0 < metrics.train_accuracy < 1


def test_the_loss_weighs_the_labels_and_the_largest_is_to_be_hit(
    few: Dataset, everything_on: MakeConfig
) -> None:
    run = new_run(everything_on(), few)
    run.model.eval()
    images, labels = run._batch(torch.arange(8))
    other = labels.flip(0)
    share = torch.tensor([0.6, 0.7, 0.8, 0.9] * 2)
    targets = share[:, None] * one_hot(labels, 10) + (1 - share[:, None]) * one_hot(other, 10)
    loss, logits = run.step.forward(images, targets)
    own, foreign = (
        cross_entropy(logits, wanted, label_smoothing=0.1, reduction="none")
        for wanted in (labels, other)
    )
    assert loss.item() == pytest.approx((share * own + (1 - share) * foreign).mean().item())
    assert run.step(images, targets)[1] == (logits.argmax(1) == labels).sum()
