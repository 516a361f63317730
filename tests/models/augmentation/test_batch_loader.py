"""Augmentation: exact where it copies pixels, right on average where it draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from fmnist_models.augmentation import batch_loader as augment
from fmnist_models.augmentation.batch_loader import SIDE, BatchLoader
from fmnist_models.compute import optional_kernels as compiled
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.data.dataset import Dataset, Images, Normalization

MANY = 6_000
Load = Callable[[Tensor], Tensor]


def loader(data: Dataset, seed: int = 1, **config: Any) -> BatchLoader:
    generator = torch.Generator().manual_seed(seed)
    augmentation = AugmentationConfig(**config)
    return BatchLoader(data.train.images, data.normalization, augmentation, generator)


def hidden(**config: Any) -> Tensor:
    """Masks (MANY, 28, 28) bool of what is blanked in as many images that are all white."""
    white = torch.full((1, 1, SIDE, SIDE), 255, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(2)
    data = custom(white)
    load = BatchLoader(white, data.normalization, AugmentationConfig(**config), generator)
    batch = load(torch.zeros(MANY, dtype=torch.int64))[:, 0]
    shown = data.normalization(white)[0, 0, 0, 0]
    assert ((batch == 0) | (batch == shown)).all()
    return batch == 0


def custom(images: Tensor) -> Dataset:
    part = Images(images, torch.zeros(len(images), dtype=torch.int64))
    return Dataset("custom", "", 10, Normalization(0.3, 0.35), part, part)


def rectangles(masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height, width (N,) of masks that each are one rectangle, which is checked."""
    rows, columns = masks.any(2), masks.any(1)
    assert torch.equal(masks, rows[:, :, None] & columns[:, None, :])
    height, width = rows.sum(1), columns.sum(1)
    top, left = rows.int().argmax(1), columns.int().argmax(1)
    steps = torch.arange(SIDE)
    for marks, first, size in ((rows, top, height), (columns, left, width)):
        whole = (steps >= first[:, None]) & (steps < (first + size)[:, None])
        assert torch.equal(marks, whole)
    return top, left, height, width


def five_deviations(share: float) -> float:
    """A bound on how far the share found in MANY draws may lie from the true one."""
    return 5 * math.sqrt(share * (1 - share) / MANY)


def test_normalised_training_images_have_mean_0_and_deviation_1(data: Dataset) -> None:
    images = data.normalization(data.train.images)
    assert (images.shape, images.dtype) == ((3_000, 1, 28, 28), torch.float32)
    assert images.double().mean().item() == pytest.approx(0, abs=1e-5)
    assert images.double().std().item() == pytest.approx(1, abs=1e-5)


def test_with_everything_off_a_batch_is_the_normalised_images(few: Dataset) -> None:
    index = torch.tensor([5, 3, 3, 511])
    batch = loader(few)(index)
    assert torch.equal(batch, few.normalization(few.train.images[index]))
    assert batch.is_contiguous()


def test_flip_mirrors_one_half_exactly(few: Dataset) -> None:
    index = torch.arange(MANY) % 512
    plain = few.normalization(few.train.images[index])
    batch = loader(few, flip=True)(index)
    same = (batch == plain).flatten(1).all(1)
    mirrored = (batch == plain.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    symmetric = (plain == plain.flip(3)).flatten(1).all(1)
    assert symmetric.float().mean() < 0.01
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=five_deviations(0.5) + 0.01)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [1, 2, 8])
def test_shift_is_one_crop_of_the_padded_image_and_every_crop_comes(
    few: Dataset, shift: int, flip: bool
) -> None:
    count = 200 * (2 * shift + 1)
    batch = loader(few, shift=shift, flip=flip)(torch.zeros(count, dtype=torch.int64))
    padded = pad(few.train.images[:1], (shift,) * 4)
    crops = [
        padded[:, :, y : y + SIDE, x : x + SIDE]
        for y in range(2 * shift + 1)
        for x in range(2 * shift + 1)
    ]
    crops += [crop.flip(3) for crop in crops] if flip else []
    candidates = few.normalization(torch.cat(crops))
    matches = torch.cdist(batch.flatten(1).double(), candidates.flatten(1).double()) < 1e-4
    assert (matches.sum(1) == 1).all()
    found = matches.double().mean(0)
    assert (found > 0).float().mean() > (0.9 if shift == 8 else 0.999)
    assert found.max() < 12 / len(candidates)


@pytest.mark.parametrize("side", [1, 2, 7, 12, 27, 28])
def test_cutout_is_a_square_centred_anywhere_and_cut_at_the_border(side: int) -> None:
    masks = hidden(cutout=side)
    top, left, height, width = rectangles(masks)
    spans = [(max(0, c - side // 2), min(SIDE, c - side // 2 + side)) for c in range(SIDE)]
    for start, size in ((top, height), (left, width)):
        found = set(zip(start.tolist(), (start + size).tolist(), strict=True))
        assert found == set(spans)
    for row in range(SIDE):
        share = sum(start <= row < end for start, end in spans) / SIDE
        assert masks.any(2)[:, row].float().mean().item() == pytest.approx(
            share, abs=five_deviations(share) + 1e-6
        )
    area = (sum(end - start for start, end in spans) / SIDE) ** 2
    assert masks.sum((1, 2)).double().mean().item() == pytest.approx(area, rel=0.05)


def test_random_erasing_hits_its_share_with_a_rectangle_inside_the_image() -> None:
    for share in (0.1, 0.5, 1.0):
        hit = hidden(random_erasing=share).flatten(1).any(1).float().mean().item()
        assert hit == pytest.approx(share, abs=five_deviations(share) + 1e-6)


def test_random_erasing_has_the_areas_and_aspects_of_the_paper() -> None:
    top, left, height, width = (r.double() for r in rectangles(hidden(random_erasing=1.0)))
    area, aspect = height * width / SIDE**2, height / width
    # Sides are whole numbers: each is off by up to a half, which is much of a short one.
    assert ((height + 0.5) * (width + 0.5) / SIDE**2 >= 0.02).all()
    assert ((height - 0.5) * (width - 0.5) / SIDE**2 <= 0.4).all()
    assert ((height + 0.5) / (width - 0.5) >= 0.3).all()
    assert ((height - 0.5) / (width + 0.5) <= 1 / 0.3).all()
    assert area.mean().item() == pytest.approx(0.21, abs=0.01)
    assert area.quantile(0.25).item() == pytest.approx(0.02 + 0.38 / 4, abs=0.01)
    assert aspect.log().mean().item() == pytest.approx(0, abs=0.05)
    assert aspect.log().std().item() == pytest.approx(2 * math.log(1 / 0.3) / 12**0.5, abs=0.05)
    for start, size in ((top, height), (left, width)):
        room = SIDE - size
        share = (start / room)[room >= 8]
        assert share.mean().item() == pytest.approx(0.5, abs=0.02)
        assert (share == 0).any()
        assert (share == 1).any()


INGREDIENTS: list[dict[str, Any]] = [
    {"flip": True},
    {"shift": 2},
    {"cutout": 8},
    {"random_erasing": 1.0},
    {"flip": True, "shift": 1, "cutout": 10, "random_erasing": 0.5},
]


@pytest.mark.parametrize("config", INGREDIENTS, ids=lambda c: "+".join(c))
def test_draws_differ_between_images_and_batches_but_not_between_equal_seeds(
    few: Dataset, config: dict[str, Any]
) -> None:
    index = torch.full((64,), 9)
    load, again = loader(few, **config), loader(few, **config)
    first, second = load(index), load(index)
    assert (first.shape, first.dtype) == ((64, 1, 28, 28), torch.float32)
    assert (first != first[:1]).any()
    assert not torch.equal(first, second)
    assert torch.equal(first, again(index))
    assert torch.equal(second, again(index))
    assert not torch.equal(first, loader(few, seed=2, **config)(index))


def test_ingredients_are_drawn_independently_of_each_other() -> None:
    masks = hidden(cutout=4, random_erasing=0.5)
    either, cutout = masks.sum((1, 2)), hidden(cutout=4).sum((1, 2))
    assert (either > 16).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert either.max() > cutout.max()


def test_the_resident_images_and_the_global_generator_are_left_alone(few: Dataset) -> None:
    before, state = few.train.images.clone(), torch.get_rng_state()
    loader(few, **INGREDIENTS[-1])(torch.arange(512))
    assert torch.equal(few.train.images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_last_image_of_a_padded_data_set_is_read_from_its_own_place(few: Dataset) -> None:
    one = replace(few, train=few.train.subset(torch.tensor([511])))
    last = loader(few, shift=3)(torch.tensor([511] * 50))
    alone = loader(one, shift=3)(torch.tensor([0] * 50))
    assert torch.equal(last, alone)


def test_compiled_loops_cut_the_same_crops(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    index, found = torch.randperm(len(data.train))[:64], []
    assert compiled.kernels() is not None
    for loops in (compiled.kernels, lambda: None):
        monkeypatch.setattr(augment, "kernels", loops)
        found.append(loader(data, flip=True, shift=3)(index))
    assert torch.equal(*found)
