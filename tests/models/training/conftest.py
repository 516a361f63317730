"""Very few images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fmnist_models.data.dataset import Dataset


@pytest.fixture(scope="session")
def fewer(few: Dataset) -> Dataset:
    """200 images to train, 100 to validate."""
    return replace(
        few,
        train=few.train.subset(torch.arange(200)),
        validation=few.validation.subset(torch.arange(100)),
    )
