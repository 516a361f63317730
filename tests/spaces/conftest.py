"""Real images to train sampled configurations on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data


@pytest.fixture(scope="session")
def few() -> Dataset:
    """512 real training images, 100 to validate."""
    data = load_search_data(find_data(), train_samples=512)
    return replace(data, validation=data.validation.subset(torch.arange(100)))
