"""RandAugment and TrivialAugment: each operation against Pillow or by hand, draws and switches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from fmnist_models.augmentation.batch_loader import BatchLoader
from fmnist_models.augmentation.policies import OPERATIONS, Policy, apply_operations
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.data.dataset import Dataset

KINDS = ["randaugment", "trivialaugment"]
GREY = ["brightness", "contrast", "posterize", "sharpness"]


def images_of(few: Dataset, count: int = 16) -> Tensor:
    return few.train.images[:count].float()


def changed(images: Tensor, name: str, strength: float) -> Tensor:
    draws = (len(images), 1)
    operation = torch.full(draws, OPERATIONS.index(name))
    return apply_operations(images, operation, torch.full(draws, strength))


def by_pillow(images: Tensor, name: str, strength: float) -> Tensor:
    factor = 1 + 0.9 * strength

    def one(image: Image.Image) -> Image.Image:
        match name:
            case "brightness":
                return ImageEnhance.Brightness(image).enhance(factor)
            case "contrast":
                return ImageEnhance.Contrast(image).enhance(factor)
            case "sharpness":
                return ImageEnhance.Sharpness(image).enhance(factor)
            case _:
                return ImageOps.posterize(image, 8 - round(4 * abs(strength)))

    return torch.stack([pil_to_tensor(one(to_pil_image(i))) for i in images.byte()]).float()


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.3, 1.0])
@pytest.mark.parametrize("name", GREY)
def test_grey_levels_change_as_in_pillow(few: Dataset, name: str, strength: float) -> None:
    images = images_of(few)
    ours, theirs = changed(images, name, strength), by_pillow(images, name, strength)
    inside = (slice(None), slice(None), slice(1, 27), slice(1, 27))  # Pillow leaves the edge
    assert (ours - theirs)[inside].abs().max() <= 2.0  # Pillow rounds, also on the way
    assert not torch.equal(ours, images)


@pytest.mark.parametrize("name", OPERATIONS)
def test_strength_0_changes_nothing_and_the_identity_never_does(few: Dataset, name: str) -> None:
    images = images_of(few)
    torch.testing.assert_close(changed(images, name, 0.0), images, rtol=0, atol=1e-2)
    torch.testing.assert_close(changed(images, "identity", 1.0), images, rtol=0, atol=1e-2)


def test_a_translation_moves_whole_pixels(few: Dataset) -> None:
    images = images_of(few)
    share = 4 / (0.3 * 28)  # four pixels
    right = changed(images, "translate_x", -share)
    torch.testing.assert_close(right[..., 4:], images[..., :-4], rtol=0, atol=0.05)
    assert not right[..., :3].any()
    down = changed(images, "translate_y", -share)
    torch.testing.assert_close(down[..., 4:, :], images[..., :-4, :], rtol=0, atol=0.05)


def square() -> Tensor:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 8:20, 8:20] = 255
    return image


def spread(image: Tensor) -> tuple[float, float, float]:
    """Second moments around the middle: x x, y y, x y, of the brightness."""
    place = torch.arange(28.0) - 13.5
    y, x = torch.meshgrid(place, place, indexing="ij")
    mass = image[0, 0] / image.sum()
    return (mass * x * x).sum().item(), (mass * y * y).sum().item(), (mass * x * y).sum().item()


def test_scale_makes_larger_and_smaller() -> None:
    base = spread(square())[0]
    for sign in (-1.0, 1.0):
        assert spread(changed(square(), "scale", sign))[0] == pytest.approx(
            base * 1.4 ** (2 * sign), rel=0.08
        )


@pytest.mark.parametrize(("name", "grown"), [("shear_x", 0), ("shear_y", 1)])
def test_shear_leans_one_way_and_keeps_the_other(name: str, grown: int) -> None:
    before, after = spread(square()), spread(changed(square(), name, 1.0))
    assert after[1 - grown] == pytest.approx(before[1 - grown], rel=0.02)
    assert after[grown] == pytest.approx(before[grown] * (1 + 0.3**2), rel=0.04)
    assert after[2] == pytest.approx(-0.3 * before[0], rel=0.05)


def test_rotation_turns_and_keeps_the_size() -> None:
    bar = torch.zeros(1, 1, 28, 28)
    bar[..., 12:16, 4:24] = 255
    turned = changed(bar, "rotate", 1.0)
    assert turned.sum() == pytest.approx(bar.sum().item(), rel=0.01)
    long, short = spread(bar)[:2]
    expected = long * 0.75 + short * 0.25  # cosine and sine of 30 degrees, squared
    assert spread(turned)[0] == pytest.approx(expected, rel=0.03)


def test_operations_of_an_image_follow_each_other(few: Dataset) -> None:
    """Two translations add up, and each image has its own."""
    images = images_of(few, 2)
    share = 2 / (0.3 * 28)
    x, y, none = (OPERATIONS.index(n) for n in ("translate_x", "translate_y", "identity"))
    moved = apply_operations(
        images, torch.tensor([[x, y], [none, none]]), torch.full((2, 2), -share)
    )
    torch.testing.assert_close(moved[0, :, 2:, 2:], images[0, :, :-2, :-2], rtol=0, atol=0.05)
    torch.testing.assert_close(moved[1], images[1], rtol=0, atol=1e-2)


def loader(few: Dataset, seed: int, **config: Any) -> BatchLoader:
    generator = torch.Generator().manual_seed(seed)
    return BatchLoader(few.train.images, few.normalization, AugmentationConfig(**config), generator)


@pytest.mark.parametrize("policy", KINDS)
def test_every_image_has_its_own_draw_repeated_by_the_seed(few: Dataset, policy: str) -> None:
    index = torch.full((64,), 9)
    first, again, other = (loader(few, seed, policy=policy)(index) for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == ((64, 1, 28, 28), torch.float32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.sum().item() for image in first}) > 20
    plain = few.normalization(few.train.images[9:10])
    low, high = plain.min().item(), few.normalization(torch.tensor(255)).item()
    assert first.min() >= low - 1e-4
    assert first.max() <= high + 1e-4


def test_trivialaugment_draws_every_operation_and_strength(few: Dataset) -> None:
    policy = Policy(AugmentationConfig(policy="trivialaugment"), torch.Generator().manual_seed(0))
    strengths = policy._strengths((3000, 1), torch.device("cpu"))
    assert len(strengths.unique()) == 31
    assert (strengths.min(), strengths.max()) == (0, 1)
    images = images_of(few, 1).expand(2000, -1, -1, -1)
    same = (policy(images) - images).abs().amax((1, 2, 3)) < 1e-2
    assert 0.05 < same.float().mean() < 0.25  # identity is one of eleven, and small strengths


def test_policies_stay_out_of_the_way_of_the_resident_images(few: Dataset) -> None:
    before = few.train.images.clone()
    part = replace(few, train=few.train)
    loader(part, 1, policy="randaugment", randaugment_ops=3, cutout=8)(torch.arange(100))
    assert torch.equal(few.train.images, before)
