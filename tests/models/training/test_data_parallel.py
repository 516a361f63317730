"""Which part of a batch a process takes, and what it loads of it."""

from __future__ import annotations

import pytest
import torch

from fmnist_models.augmentation.batch_loader import BatchLoader
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.data_parallel import DataParallel


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_make_up_the_batch_as_evenly_as_can_be(size: int) -> None:
    batch = torch.arange(20)
    parts = [batch[DataParallel(rank, size).part_of(20)] for rank in range(size)]
    for part, expected in zip(parts, batch.tensor_split(size), strict=True):
        assert torch.equal(part, expected)


@pytest.mark.parametrize(
    "augmentation",
    [
        {"flip": True, "shift": 2},
        {"cutout": 8},
        {"random_erasing": 0.7},
        {"policy": "trivialaugment", "flip": True},
    ],
    ids=str,
)
def test_the_images_of_a_part_are_those_of_the_whole_batch(
    few: Dataset, augmentation: dict[str, object]
) -> None:
    generator = torch.Generator()
    config = AugmentationConfig.model_validate(augmentation)
    load = BatchLoader(few.train.images, few.normalization, config, generator)
    index = torch.randperm(len(few.train))[:33]

    def loaded(part: slice) -> torch.Tensor:
        generator.manual_seed(7)
        return load(index, part)

    whole = loaded(slice(None))
    for rank in range(2):
        part = DataParallel(rank, 2).part_of(33)
        assert torch.equal(loaded(part), whole[part])
        state = generator.get_state()
        loaded(slice(None))
        assert torch.equal(generator.get_state(), state), "as much is drawn for a part"
